"""The kernels of rows of logits (classes.py), in what source.py says kernels are written in."""

# `across` threads have a row of logits (count, classes), and go to its classes in turn; `halving` their results in a
# fixed order gives the same bits every time. rows (5, count): largest, total, sum of t, cost, and what the item adds
# to the number that the mean is over.
COSTS = """
KERNEL cost_rows({parameters}, T *rows, Index count, Index classes, int across) {{
    SHARED T largest[THREADS], total[THREADS], sums[THREADS], costs[THREADS];
    const int down = THREADS / across;
    FOR_EACH_THREAD(t) {{
        const Index n = (Index)BLOCK_X * down + t / across;
        T most = -INFINITY;
        if (n < count)
            for (Index c = t % across; c < classes; c += across) {{
                const T z = logits[n * classes + c];
                if (z > most || z != z) most = z;
            }}
        largest[t] = most;
    }}
    SYNC;
    for (int half = across / 2; half > 0; half /= 2) {{
        FOR_EACH_THREAD(t) if (t % across < half) {{
            const T z = largest[t + half];
            if (z > largest[t] || z != z) largest[t] = z;
        }}
        SYNC;
    }}
    FOR_EACH_THREAD(t) {{
        const Index n = (Index)BLOCK_X * down + t / across;
        T s = 0, e = 0;
        if (n < count)
            for (Index c = t % across; c < classes; c += across) {{
                {target}
                s += {t};
                e += exp(logits[n * classes + c] - largest[t - t % across]);
            }}
        sums[t] = s;
        total[t] = e;
    }}
    SYNC;
    for (int half = across / 2; half > 0; half /= 2) {{
        FOR_EACH_THREAD(t) if (t % across < half) {{
            sums[t] += sums[t + half];
            total[t] += total[t + half];
        }}
        SYNC;
    }}
    FOR_EACH_THREAD(t) {{
        const Index n = (Index)BLOCK_X * down + t / across;
        const T log_total = log(total[t - t % across]);
        T s = 0;
        if (n < count)
            for (Index c = t % across; c < classes; c += across) {{
                const T shifted = logits[n * classes + c] - largest[t - t % across];
                {cost}
                s += {costs};
            }}
        costs[t] = s;
    }}
    SYNC;
    for (int half = across / 2; half > 0; half /= 2) {{
        FOR_EACH_THREAD(t) if (t % across < half) costs[t] += costs[t + half];
        SYNC;
    }}
    FOR_EACH_THREAD(t) {{
        const Index n = (Index)BLOCK_X * down + t / across;
        if (n < count && t % across == 0) {{
            {item}
            rows[n] = largest[t];
            rows[count + n] = total[t];
            rows[2 * count + n] = sums[t];
            rows[3 * count + n] = costs[t];
            rows[4 * count + n] = {counted};
        }}
    }}
}}
"""

# The mean cost, and the number that it is over.
MEAN = """
KERNEL cost_mean(const T *rows, T *mean, T *over, Index count) {
    SHARED T costs[THREADS], counted[THREADS];
    FOR_EACH_THREAD(t) {
        T s = 0, k = 0;
        for (Index n = t; n < count; n += THREADS) {
            s += rows[3 * count + n];
            k += rows[4 * count + n];
        }
        costs[t] = s;
        counted[t] = k;
    }
    SYNC;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        FOR_EACH_THREAD(t) if (t < half) {
            costs[t] += costs[t + half];
            counted[t] += counted[t + half];
        }
        SYNC;
    }
    FOR_EACH_THREAD(t) if (t == 0) {
        *mean = costs[0] / counted[0];
        *over = counted[0];
    }
}
"""

GRADIENT = """
KERNEL cost_gradient({parameters}, const T *rows, const T *over, {upstream}, T *dlogits, Index count, Index classes) {{
    const T factor = {dloss} / *over;
    FOR_EACH_INDEX(i, count * classes) {{
        const Index n = i / classes, c = i % classes;
        const T softmax = exp(logits[i] - rows[n]) / rows[count + n], sum = rows[2 * count + n];
        {lines}
        dlogits[i] = {dlogits};
    }}
}}
"""

# One block has all rows, `across` threads each, and counts where the largest is where the label says. NaN counts as
# the largest, as in NumPy.
LARGEST = """
#define LARGER(z, than) (z > than || (z != z && than == than))
KERNEL count_largest(const T *logits, const Label *labels, long long *found, Index count, Index classes, int across) {
    SHARED T most[THREADS];
    SHARED Index place[THREADS], hits[THREADS];
    const int down = THREADS / across;
    FOR_EACH_THREAD(t) hits[t] = 0;
    for (Index first = 0; first < count; first += down) {
        FOR_EACH_THREAD(t) {
            const Index n = first + t / across;
            most[t] = -INFINITY;
            place[t] = t % across;
            if (n < count)
                for (Index c = t % across; c < classes; c += across) {
                    const T z = logits[n * classes + c];
                    if (LARGER(z, most[t])) {
                        most[t] = z;
                        place[t] = c;
                    }
                }
        }
        SYNC;
        for (int half = across / 2; half > 0; half /= 2) {
            FOR_EACH_THREAD(t) if (t % across < half) {
                const T z = most[t + half];
                if (LARGER(z, most[t]) || (!(LARGER(most[t], z)) && place[t + half] < place[t])) {
                    most[t] = z;
                    place[t] = place[t + half];
                }
            }
            SYNC;
        }
        FOR_EACH_THREAD(t) {
            const Index n = first + t / across;
            if (n < count && t % across == 0) hits[t] += place[t] == (long long)labels[n];
        }
    }
    SYNC;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        FOR_EACH_THREAD(t) if (t < half) hits[t] += hits[t + half];
        SYNC;
    }
    FOR_EACH_THREAD(t) if (t == 0) found[0] = hits[0];
}
"""
