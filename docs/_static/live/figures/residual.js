// The gradient's norm on its way back through a chain of blocks, with and without shortcut and batch norm.

import { Plot, check, element, slider } from "./shared.js";

export const words = {
    en: {
        depth: "blocks", scale: "weights at the start, 1 = He", block: "read at the input of block",
        plain: "plain", norm: "with batch norm", shortcut: "with shortcut", both: "with both",
        label: "Norm of the gradient at the input of each block",
        y: "‖∂L/∂x‖ at a block's input; at the output it is 1", x: "block",
        at: (block) => `Norm of the gradient at the input of block ${block}`,
        none: "No line is ticked: tick one or more below.", computing: "Computing …",
    },
    zh: {
        depth: "块数", scale: "初始权重，1 = He", block: "查看第几块的输入",
        plain: "普通", norm: "加批归一化", shortcut: "加捷径连接", both: "两者都加",
        label: "各块输入处的梯度范数",
        y: "各块输入处的 ‖∂L/∂x‖；输出处为 1", x: "块",
        at: (block) => `第 ${block} 块输入处的梯度范数`,
        none: "没有勾选任何一条线：请在下方勾选。", computing: "正在计算……",
    },
};

const KINDS = { plain: "two", norm: "four", shortcut: "three", both: "one" };

export default async function (body, words, call) {
    const at = { depth: 20, scale: 1, block: 1, kinds: new Set(Object.keys(KINDS)) };
    let [now, asked] = [null, 0];

    const depth = slider({ label: words.depth, min: 2, max: 40, value: 20, onchange: (n) => ((at.depth = n), compute()) });
    const scale = slider({
        label: words.scale, min: 0.5, max: 1.5, step: 0.05, value: 1, onchange: (n) => ((at.scale = n), compute()),
    });
    const place = slider({ label: words.block, min: 1, max: 20, value: 1, onchange: (n) => read(n) });
    const plot = new Plot({
        label: words.label, x: [1, 21], y: [1e-6, 1e6], logarithmic: true, onmark: (x) => read(Math.round(x)),
        xname: words.x, yname: words.y,
    });
    const rows = Object.entries(KINDS).map(([kind, colour]) => {
        const shown = check({
            label: words[kind], value: true,
            onchange: (on) => (at.kinds[on ? "add" : "delete"](kind), draw()),
        });
        shown.node.prepend(element("span", { class: `figure-key ${colour}` }));
        const number = element("output", { "data-name": kind, "aria-label": words[kind] });
        return { kind, number, node: element("div", { class: "figure-row" }, shown.node, number) };
    });
    const title = element("p", { class: "figure-title" });

    body.append(
        element("div", { class: "figure-controls" }, depth.node, scale.node),
        plot.node,
        element("div", { class: "figure-controls" }, place.node),
        title, element("div", { class: "figure-controls" }, ...rows.map((row) => row.node)),
    );

    async function compute() {
        const mine = ++asked;
        const late = setTimeout(() => (body.setAttribute("aria-busy", "true"), plot.say(words.computing)), 300);
        const found = await call("numbers", at.depth, at.scale);
        clearTimeout(late);
        if (mine === asked) body.removeAttribute("aria-busy");
        if (mine === asked) plot.say("");
        if (!found) return;
        now = found;
        place.max = at.depth;
        draw();
    }

    function draw() {
        const seen = [...at.kinds].flatMap((kind) => now[kind].gradients).filter((norm) => norm > 0);
        const low = Math.min(0.1, 10 ** Math.floor(Math.log10(Math.min(...seen, 1))));
        const most = Math.max(10, 10 ** Math.ceil(Math.log10(Math.max(...seen, 1))));
        [plot.x, plot.y] = [[1, at.depth + 1], [Math.max(low, 1e-30), Math.min(most, 1e30)]];
        plot.draw(Object.keys(KINDS).filter((kind) => at.kinds.has(kind)).map((kind) => (
            { name: kind, kind: KINDS[kind], points: now[kind].gradients.map((norm, block) => [block + 1, norm]) })));
        plot.say(at.kinds.size ? "" : words.none);
        read(Math.min(at.block, at.depth));
    }

    function read(block) {
        at.block = Math.min(block, at.depth);
        place.value = at.block;
        plot.mark(at.block);
        title.textContent = words.at(at.block);
        for (const { kind, number } of rows) {
            number.dataset.value = now[kind].gradients[at.block - 1];
            number.textContent = Number(number.dataset.value).toPrecision(3).replace("-", "−");
        }
    }

    await compute();
}
