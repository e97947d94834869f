"""What kernels are written in: CUDA C of a kind that is also plain C, with loops in the place of threads.

A kernel is a sequence of phases, FOR_EACH_THREAD(t) { ... }, with SYNC between those that share memory; nothing but
SHARED memory outlives a phase. So the tests can compile the same text for a CPU, where the phases are loops, and
compare every kernel with NumPy on a machine without a GPU.
"""

THREADS = 256  # of a block
# What T, in which kernels compute, and Number, of which their arrays are, stand for, by the character of a dtype
TYPES = {"f": ("float", "float"), "d": ("double", "double"), "e": ("float", "Half"), "E": ("float", "Brain")}

PRELUDE = f"""
#define KERNEL extern "C" __global__ void __launch_bounds__({THREADS})
#define SHARED __shared__
#define SYNC __syncthreads()
#define FOR_EACH_THREAD(t) for (int t = threadIdx.x, once = 1; once; once = 0)
#define BLOCK_X blockIdx.x
#define BLOCK_Y blockIdx.y
#define BLOCKS_X gridDim.x
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#define ALIGNED __align__(16)
#define DEVICE __device__ __forceinline__
static DEVICE unsigned bits_of(float x) {{ return __float_as_uint(x); }}
static DEVICE float of_bits(unsigned bits) {{ return __uint_as_float(bits); }}
struct Half {{
    unsigned short bits;
    Half() = default;
    DEVICE Half(float x) {{ asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x)); }}
    DEVICE operator float() const {{ float x; asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(bits)); return x; }}
}};
"""

# bfloat16 is the upper half of a float: rounded to the nearest, of two as near to the even one.
BRAIN = """
struct Brain {
    unsigned short bits;
    Brain() = default;
    DEVICE Brain(float x) {
        const unsigned all = bits_of(x);
        bits = x != x ? 0x7fff : (all + 0x7fff + (all >> 16 & 1)) >> 16;
    }
    DEVICE operator float() const { return of_bits((unsigned)bits << 16); }
};
"""

EACH = f"""
#define THREADS {THREADS}
#define FOR_EACH_INDEX(i, n) FOR_EACH_THREAD(t) \\
    for (Index i = (Index)BLOCK_X * THREADS + t; i < n; i += (Index)BLOCKS_X * THREADS)
"""

FUSED = """
KERNEL fused({parameters}, Index n, Index channels) {{
    FOR_EACH_INDEX(i, n) {{
        {lines}
    }}
}}
"""

# The same for many sets of arrays at once: set k has the indices from many.start[k] up to many.start[k + 1]. The
# struct travels with the launch, which takes 4 kB at most.
MANY = """
struct Many {{ void *arrays[{each}][{sets}]; long long start[{sets} + 1]; }};
KERNEL fused_many(const Many many, int sets{parameters}) {{
    FOR_EACH_INDEX(at, many.start[sets]) {{
        int k = 0;
        for (int step = {half}; step > 0; step /= 2)
            if (k + step < sets && many.start[k + step] <= at) k += step;
        const Index i = at - many.start[k];
        {lines}
    }}
}}
"""

# Sums of each column of a matrix (rows, channels). A block of `across` by THREADS / across threads adds up every so
# many rows of `across` columns; `halving` them in a fixed order gives the same bits every time. `ending` is done with
# the sums s0, s1, ... of column c.
SUMS = """
KERNEL sums({parameters}, Index rows, Index channels, int across) {{
    SHARED T shared[{count}][THREADS];
    const int down = THREADS / across;
    FOR_EACH_THREAD(t) {{
        const Index c = (Index)BLOCK_Y * across + t % across;
        T {zeros};
        if (c < channels)
            for (Index r = (Index)BLOCK_X * down + t / across; r < rows; r += (Index)BLOCKS_X * down) {{
                const Index i = r * channels + c;
                {lines}
            }}
        {shares}
    }}
    SYNC;
    for (int half = down / 2; half > 0; half /= 2) {{
        FOR_EACH_THREAD(t) if (t / across < half)
            for (int k = 0; k < {count}; k++) shared[k][t] += shared[k][t + half * across];
        SYNC;
    }}
    FOR_EACH_THREAD(t) {{
        const Index c = (Index)BLOCK_Y * across + t;
        if (t < across && c < channels) {{
            {sums}
            {ending}
        }}
    }}
}}
"""

# WIDTH numbers that lie in memory one after another, and travel as one.
ITEM = """
struct {aligned} Item {{ Number numbers[WIDTH]; }};
"""

# Every pixel of every window: patches (N, OH, OW, KH, KW, C) from x (N, H, W, C), C in Items.
_WINDOWS = """
    Item outside;
    for (int k = 0; k < WIDTH; k++) outside.numbers[k] = border;
    FOR_EACH_INDEX(at, n) {
        const int c = at % C, j = at / C % KW, i = at / (C * KW) % KH;
        const Index pixel = at / (C * KW * KH);
        const int h = pixel / OW % OH * SH + i * DH - TOP, w = pixel % OW * SW + j * DW - LEFT;
        const Index image = pixel / (OW * OH);
        const bool inside = h >= 0 && h < H && w >= 0 && w < W;
        patches[at] = inside ? x[((image * H + h) * W + w) * C + c] : outside;
    }
"""
IM2COL = f"""
KERNEL im2col(const Item *x, Item *patches, Index n, T border) {{{_WINDOWS}}}
"""

# Patches, and what they are multiplied by: matrix (O, KH, KW, C), C in numbers, of weight (O, C, KH, KW); or, TURNED,
# of weight (C, O, KH, KW), its kernels turned by 180 degrees.
FACTORS = f"""
KERNEL factors(const Item *x, Item *patches, Index n, T border, const T *weight, Number *matrix, Index m) {{{_WINDOWS}
    const int channels = C * WIDTH;
    const Index outputs = m / (channels * KH * KW);
    FOR_EACH_INDEX(at, m) {{
        const int c = at % channels, j = at / channels % KW, i = at / (channels * KW) % KH;
        const Index o = at / (channels * KW * KH);
        const Index from = TURNED ? ((c * outputs + o) * KH + KH - 1 - i) * KW + KW - 1 - j
                                  : ((o * channels + c) * KH + i) * KW + j;
        matrix[at] = weight[from];
    }}
}}
"""

# The adjoint: every pixel gathers its copies, in the order of the window, so that no two threads write to one place.
COL2IM = """
KERNEL col2im(const Item *patches, Item *dx, Index n, T zero) {
    FOR_EACH_INDEX(at, n) {
        const int c = at % C, w = at / C % W, h = at / (C * W) % H;
        const Index image = at / (C * W * H);
        T sum[WIDTH];
        for (int k = 0; k < WIDTH; k++) sum[k] = zero;
        for (int i = 0; i < KH; i++) {
            const int y = h + TOP - i * DH;
            if (y < 0 || y % SH || y / SH >= OH) continue;
            for (int j = 0; j < KW; j++) {
                const int x = w + LEFT - j * DW;
                if (x < 0 || x % SW || x / SW >= OW) continue;
                const Item copy = patches[((((image * OH + y / SH) * OW + x / SW) * KH + i) * KW + j) * C + c];
                for (int k = 0; k < WIDTH; k++) sum[k] += (T)copy.numbers[k];
            }
        }
        Item result;  // so that it is written as one
        for (int k = 0; k < WIDTH; k++) result.numbers[k] = sum[k];
        dx[at] = result;
    }
}
"""
