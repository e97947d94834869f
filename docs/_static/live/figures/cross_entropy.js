// Softmax and cross-entropy: drag the logits, and see probabilities, loss and gradient.

import { Columns, button, choice, codeTerms, element, formula, link, shown, slider } from "./shared.js";

export const words = {
    en: {
        how: "Drag a logit by its tip, or use the keyboard (Tab leads to the logits, ← and → to the next one, ↑ and ↓ change it): its gradient stands below.",
        label: "right class", smoothing: "label smoothing", more: "Add 1 to all logits", less: "Take 1 from all", p: "p = softmax(z)",
        gradient: "dz = p − t", loss: "loss", sum: "the gradients add up to", logits: "logits z",
    },
    zh: {
        how: "拖动某个 logit 的端点，或用键盘（Tab 移到这些 logit，← → 换一个，↑ ↓ 改变它）：下方写出它的梯度。",
        label: "正确的类别", smoothing: "标签平滑", more: "每个 logit 加 1", less: "每个 logit 减 1", p: "p = softmax(z)",
        gradient: "dz = p − t", loss: "损失", sum: "梯度之和为", logits: "logits z",
    },
};

export default async function (body, words, call) {
    const z = [2, 1, 0.5, -1, -2];
    const names = z.map((_, place) => String(place));
    const at = { label: 1, smoothing: 0, place: 1 };
    let now = null;

    const edit = { min: -6, max: 6, step: 0.25, set: (place, value) => ((z[place] = value), compute()) };
    const shared = { names, wide: 44, term: (_, place) => place, onplace: (place) => ((at.place = place), write()) };
    const logits = new Columns({ ...shared, name: "z", label: words.logits, most: 6, edit });
    const p = new Columns({ ...shared, name: words.p, most: 1, lowest: 0, colours: ["three"] });
    const gradient = new Columns({ ...shared, name: words.gradient, most: 1, colours: ["two"] });
    const label = choice({
        label: words.label, value: "1", options: names.map((name) => [name, name]),
        onchange: (name) => ((at.label = Number(name)), compute()),
    });
    const smoothing = slider({
        label: words.smoothing, min: 0, max: 0.5, step: 0.05, value: 0,
        onchange: (n) => ((at.smoothing = n), compute()),
    });
    const shift = (by) => {
        if (z.some((value) => Math.abs(value + by) > edit.max)) return;
        z.forEach((value, place) => (z[place] = value + by));
        compute();
    };
    const said = element("p", { class: "figure-said", "aria-live": "polite", "data-name": "loss" });
    const written = element("p", { class: "figure-said", "data-name": "written" });
    const code = element("code", { class: "figure-code" });
    const light = link(body);

    body.append(
        element("p", { class: "figure-how" }, words.how),
        element("div", { class: "figure-controls" }, label.node, smoothing.node,
            button(words.more, () => shift(1)), button(words.less, () => shift(-1))),
        element("div", { class: "figure-row top" }, logits.node, p.node, gradient.node), written, code, said,
    );

    async function compute() {
        logits.draw(z);
        const found = await call("numbers", z, at.label, at.smoothing);
        if (!found) return;
        now = found;
        p.draw(now.p), gradient.draw(now.dlogits);
        write();
        const text = at.smoothing ? "−Σ t log p" : `−log p[${at.label}]`;
        said.dataset.value = now.loss;
        said.textContent = `${words.loss} = ${text} = ${shown(now.loss, 4)}; ${words.sum} ${shown(now.sum, 4)}`;
    }

    // The gradient of one logit, with its numbers, and the line of the textbook that computes it.

    function write() {
        if (!now) return;
        const n = at.place;
        written.replaceChildren(...formula([
            [`dz[${n}]`, n, "two"], ` = p[${n}] − t[${n}] = `, [shown(now.p[n], 4), n, "three"], " − ", [shown(now.targets[n], 4), n, "rest"], " = ",
            [shown(now.dlogits[n], 4), n, "two"],
        ]));
        code.replaceChildren(...codeTerms(now.code, [["np.exp(log_p)", n, "three"], ["one_hot", n, "rest"]]));
        light();
    }

    await compute();
}
