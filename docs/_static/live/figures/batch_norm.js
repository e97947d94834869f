// Batch norm of one channel: drag a value or a gradient, and see each of the three terms of dx.

import { Columns, Matrix, check, element, shown, slider } from "./shared.js";

export const words = {
    en: {
        how: "Drag a value of x or dy by its tip, or choose it with Tab and press the arrow keys. Dashed: μ and μ ± σ.",
        training: "training (off: inference, with μ = 0 and σ = 1 remembered)",
        direct: "direct: γ/σ · dyᵢ", mean: "through μ: −γ/σ · mean(dy)", variance: "through v: −γ/σ · x̂ᵢ · mean(dy x̂)",
        sum: "dxᵢ: their sum", terms: "the three terms",
    },
    zh: {
        how: "拖动 x 或 dy 的某个值的端点，或用 Tab 选中它，再按方向键。虚线是 μ 和 μ ± σ。",
        training: "训练模式（取消即评估模式，用记住的 μ = 0、σ = 1）",
        direct: "直接：γ/σ · dyᵢ", mean: "经过 μ：−γ/σ · mean(dy)", variance: "经过 v：−γ/σ · x̂ᵢ · mean(dy x̂)",
        sum: "dxᵢ：三项之和", terms: "三项",
    },
};

export default async function (body, words, call) {
    const x = [1, 1, 5, 5];
    const dy = [1, 2, 3, 6];
    const at = { weight: 2, training: true };

    const edit = (array) => ({ min: -8, max: 8, step: 0.5, set: (place, value) => ((array[place] = value), compute()) });
    const values = new Columns({ name: "x", most: 8, edit: edit(x) });
    const given = new Columns({ name: "dy", most: 8, edit: edit(dy), colours: ["two"] });
    const terms = new Columns({ name: words.terms, wide: 64, colours: ["one", "three", "four", "rest"] });
    const rows = [["direct", "one"], ["mean", "three"], ["variance", "four"], ["dx", "rest"]];
    const tables = Object.fromEntries(rows.map(([name]) => [name, new Matrix({ name, wide: 52, high: 24 })]));
    const weight = slider({ label: "γ", min: -3, max: 3, step: 0.25, value: 2, onchange: (n) => ((at.weight = n), compute()) });
    const training = check({ label: words.training, value: true, onchange: (on) => ((at.training = on), compute()) });
    const moments = element("p", { class: "figure-how", "data-name": "moments" });
    const sums = element("p", { class: "figure-said", "aria-live": "polite" });

    body.append(
        element("p", { class: "figure-how" }, words.how),
        element("div", { class: "figure-controls" }, weight.node, training.node),
        element("div", { class: "figure-row top" }, values.node, given.node, terms.node),
        moments,
        element("div", { class: "figure-table" }, ...rows.flatMap(([name, colour]) => [
            element("span", {}, element("span", { class: `figure-key ${colour}` }), words[name === "dx" ? "sum" : name]),
            tables[name].node,
        ])),
        sums,
    );

    async function compute() {
        values.draw(x), given.draw(dy);
        const now = await call("numbers", x, dy, at.weight, at.training);
        if (!now) return;
        values.guide([now.mu, "first"], [now.mu - now.sigma, "second"], [now.mu + now.sigma, "second"]);
        terms.draw(now.direct, now.mean, now.variance, now.dx);
        for (const [name] of rows) tables[name].draw([now[name]]);
        moments.textContent = `μ = ${shown(now.mu)}, σ = ${shown(now.sigma)}, x̂ = ${now.x_hat.map((n) => shown(n)).join(", ")}`;
        sums.textContent = `Σ dx = ${shown(now.sums[0])}, Σ dx x̂ = ${shown(now.sums[1])}; dγ = ${shown(now.dweight)}, dβ = ${shown(now.dbias)}`;
    }

    await compute();
}
