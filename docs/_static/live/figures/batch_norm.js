// Batch norm of one channel: drag a value or a gradient, and see each of the three terms of dx.

import { Columns, Matrix, check, codeTerms, element, formula, link, shown, slider } from "./shared.js";

export const words = {
    en: {
        how: "Drag a value of x or dy by its tip, or use the keyboard (Tab leads to the values, ← and → to the next one, ↑ and ↓ change it): its dx stands below. Dashed: μ and μ ± σ.",
        training: "training (off: inference, with μ = 0 and σ = 1 remembered)",
        direct: "direct: γ/σ · dyᵢ", mean: "through μ: −γ/σ · mean(dy)", variance: "through v: −γ/σ · x̂ᵢ · mean(dy x̂)",
        sum: "dxᵢ: their sum", terms: "the three terms",
    },
    zh: {
        how: "拖动 x 或 dy 的某个值的端点，或用键盘（Tab 移到这些值，← → 换一个，↑ ↓ 改变它）：下方写出它的 dx。虚线是 μ 和 μ ± σ。",
        training: "训练模式（取消即评估模式，用记住的 μ = 0、σ = 1）",
        direct: "直接：γ/σ · dyᵢ", mean: "经过 μ：−γ/σ · mean(dy)", variance: "经过 v：−γ/σ · x̂ᵢ · mean(dy x̂)",
        sum: "dxᵢ：三项之和", terms: "三项",
    },
};

export default async function (body, words, call) {
    const x = [1, 1, 5, 5];
    const dy = [1, 2, 3, 6];
    const at = { weight: 2, training: true, place: 0 };
    let now = null;

    const edit = (array) => ({ min: -8, max: 8, step: 0.5, set: (place, value) => ((array[place] = value), compute()) });
    const onplace = (place) => ((at.place = place), write());
    const rows = [["direct", "one"], ["mean", "three"], ["variance", "four"], ["dx", "rest"]];
    const values = new Columns({ name: "x", most: 8, edit: edit(x), onplace });
    const given = new Columns({ name: "dy", most: 8, edit: edit(dy), colours: ["two"], onplace });
    const terms = new Columns({
        name: words.terms, wide: 64, colours: rows.map(([, colour]) => colour), term: (row) => rows[row][0], onplace,
    });
    const tables = Object.fromEntries(rows.map(([name]) => [name, new Matrix({ name, label: words[name === "dx" ? "sum" : name], wide: 52, high: 24 })]));
    const weight = slider({ label: "γ", min: -3, max: 3, step: 0.25, value: 2, onchange: (n) => ((at.weight = n), compute()) });
    const training = check({ label: words.training, value: true, onchange: (on) => ((at.training = on), compute()) });
    const written = element("p", { class: "figure-said", "data-name": "written" });
    const code = element("code", { class: "figure-code" });
    const moments = element("p", { class: "figure-how", "data-name": "moments" });
    const sums = element("p", { class: "figure-said", "aria-live": "polite" });
    const light = link(body);

    body.append(
        element("p", { class: "figure-how" }, words.how),
        element("div", { class: "figure-controls" }, weight.node, training.node),
        element("div", { class: "figure-row top" }, values.node, given.node, terms.node),
        moments, written, code,
        element("div", { class: "figure-table" }, ...rows.flatMap(([name, colour]) => [
            element("span", { "data-term": name }, element("span", { class: `figure-key ${colour}` }), words[name === "dx" ? "sum" : name]),
            tables[name].node,
        ])),
        sums,
    );

    async function compute() {
        values.draw(x), given.draw(dy);
        const found = await call("numbers", x, dy, at.weight, at.training);
        if (!found) return;
        now = found;
        values.guide([now.mu, "first"], [now.mu - now.sigma, "second"], [now.mu + now.sigma, "second"]);
        terms.draw(now.direct, now.mean, now.variance, now.dx);
        moments.textContent = `μ = ${shown(now.mu)}, σ = ${shown(now.sigma)}, x̂ = ${now.x_hat.map((n) => shown(n)).join(", ")}`;
        write();
        sums.textContent = `Σ dx = ${shown(now.sums[0])}, Σ dx x̂ = ${shown(now.sums[1])}; dγ = ${shown(now.dweight)}, dβ = ${shown(now.dbias)}`;
    }

    // The formula, with the numbers of one value in it, and the line of the textbook that computes it.

    function write() {
        if (!now) return;
        const n = at.place;
        const number = (value) => (value < 0 ? `(${shown(value)})` : shown(value));
        const scale = `${number(at.weight)}/${number(now.sigma)}`;
        const less = now.training ? [
            " − ", [`${scale} · ${number(now.dy_mean)}`, "mean", "three"],
            " − ", [`${scale} · ${number(now.x_hat[n])} · ${number(now.dyx_hat_mean)}`, "variance", "four"],
        ] : [];
        written.replaceChildren(...formula([
            [`dx[${n}]`, "dx", "rest"], " = ", [`${scale} · ${number(dy[n])}`, "direct", "one"], ...less, ` = ${shown(now.dx[n])}`,
        ]));
        code.replaceChildren(...codeTerms(now.code, [["dx", "dx", "rest"], ...(now.training ? [
            ["dy", "direct", "one"], ["- dy.mean(axis=pixels)", "mean", "three"],
            ["- x_hat * (dy * x_hat).mean(axis=pixels)", "variance", "four"],
        ] : [["dy", "direct", "one"]])]));
        for (const [name] of rows) tables[name].draw([now[name]], (r, c) => (c === n ? "seen" : ""), { term: () => name });
        light();
    }

    await compute();
}
