// Pooling: which pixel a window hands on, and where its gradient goes back to.

import { Matrix, choice, element, shown, slider } from "./shared.js";

export const words = {
    en: {
        how: "Drag a number with a dotted line up or down, or choose it with Tab and press the arrow keys.",
        kind: "pooling", max: "max", average: "average", window: "window", kernel: "kernel", stride: "stride",
        padding: "padding", forward: "Forward", backward: "Backward",
        won: (pixel, dy) => `x[${pixel}] wins: dx[${pixel}] receives dy = ${dy}, the other pixels of the window nothing`,
        shared: (count, part) => `each of its ${count} pixels receives ${part}`,
        wins: "windows won by each pixel", shares: "shares of windows that each pixel has",
    },
    zh: {
        how: "上下拖动带点线的数，或用 Tab 选中它，再按方向键。",
        kind: "池化", max: "最大", average: "平均", window: "窗口", kernel: "核", stride: "步幅",
        padding: "填充", forward: "前向", backward: "反向",
        won: (pixel, dy) => `x[${pixel}] 胜出：dx[${pixel}] 得到 dy = ${dy}，窗口的其他像素什么也得不到`,
        shared: (count, part) => `它的 ${count} 个像素各得到 ${part}`,
        wins: "每个像素胜出的窗口数", shares: "每个像素在各窗口中所占的份额",
    },
};

export default async function (body, words, call) {
    const x = [[1, 2, 0, 1, 2], [0, 3, 3, 2, 0], [2, 1, 1, 0, 4], [1, 0, 2, 3, 1], [5, 1, 0, 1, 2]];
    const dy = Array.from({ length: 49 }, (_, place) => [1, 2, 3, -1, 2][place % 5]);
    const at = { kind: "max", window: 0, kernel: 3, stride: 2, padding: 0 };
    let now = null;

    const image = new Matrix({ name: "x", edit: { min: -9, max: 9, set: (r, c, value) => ((x[r][c] = value), compute()) } });
    const y = new Matrix({ name: "y", pick: (r, c) => go(r * now.y[0].length + c) });
    const set = (r, c, value) => ((dy[r * now.dy[0].length + c] = value), compute());
    const given = new Matrix({ name: "dy", edit: { min: -9, max: 9, set } });
    const dx = new Matrix({ name: "dx" });
    const wins = new Matrix({ name: "wins", label: words.wins, wide: 28, high: 22 });
    const named = element("span");
    wins.node.firstElementChild.replaceChildren(named);

    const options = ["max", "average"].map((kind) => [kind, words[kind]]);
    const kind = choice({ label: words.kind, options, value: "max", onchange: (key) => ((at.kind = key), compute()) });
    const place = slider({
        label: words.window, min: 1, max: 4, value: 1, text: (n, most) => `${n} / ${most}`, onchange: (n) => go(n - 1),
    });
    const sliders = [["kernel", 2, 3], ["stride", 1, 3], ["padding", 0, 1]].map(([name, min, max]) =>
        slider({ label: words[name], min, max, value: at[name], onchange: (n) => ((at[name] = n), compute()) }));
    const said = element("p", { class: "figure-said", "aria-live": "polite" });
    const sign = (text) => element("span", { class: "figure-sign", "aria-hidden": "true" }, text);
    const row = (title, ...nodes) => [element("p", { class: "figure-title" }, title), element("div", { class: "figure-row" }, ...nodes)];

    body.append(
        element("p", { class: "figure-how" }, words.how),
        element("div", { class: "figure-controls" }, kind.node, place.node, ...sliders.map((one) => one.node)), said,
        ...row(words.forward, image.node, sign("→"), y.node),
        ...row(words.backward, given.node, sign("→"), dx.node, wins.node),
    );

    async function compute() {
        image.draw(x, mark);
        const found = await call("numbers", at.kind, x, dy, at.kernel, at.stride, at.padding);
        if (!found) return;
        now = found;
        place.max = now.parts.length;
        go(Math.min(at.window, now.parts.length - 1));
    }

    function go(window) {
        at.window = window;
        place.value = window + 1;
        draw();
    }

    function within(r, c) {
        const columns = now.y[0].length;
        const top = Math.floor(at.window / columns) * at.stride - at.padding;
        const left = (at.window % columns) * at.stride - at.padding;
        return r >= top && r < top + at.kernel && c >= left && c < left + at.kernel;
    }

    const mark = (r, c) => (!now ? "" : now.shares[at.window]?.[r][c] ? "given" : within(r, c) ? "seen" : "");

    function draw() {
        const columns = now.y[0].length;
        const here = (r, c) => (r * columns + c === at.window ? "given" : "");
        image.draw(x, mark), y.draw(now.y, here), given.draw(now.dy, here), dx.draw(now.dx, mark);
        named.textContent = at.kind === "max" ? words.wins : words.shares;
        wins.draw(x.map((line, r) => line.map((_, c) => now.shares.reduce((total, share) => total + share[r][c], 0))), (r, c) => "faint");
        const [r, c] = [Math.floor(at.window / columns), at.window % columns];
        const got = now.shares[at.window].flatMap((line, row) => line.flatMap((share, column) => (share ? [[row, column]] : [])));
        const text = at.kind === "max"
            ? words.won(got[0].join(", "), shown(now.dy[r][c]))
            : words.shared(got.length, shown(now.parts[at.window][got[0][0]][got[0][1]]));
        said.textContent = `y[${r}, ${c}] = ${shown(now.y[r][c])}; ${text}`;
    }

    await compute();
}
