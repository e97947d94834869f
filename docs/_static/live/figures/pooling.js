// Pooling: which pixel a window hands on, and where its gradient goes back to.

import { Matrix, Windows, choice, element, link, row, shown, sign, slider } from "./shared.js";

export const words = {
    en: {
        how: "Drag a number with a dotted line up or down, or use the keyboard: Tab leads to the numbers, ← and → to the next one, ↑ and ↓ change it. A click on y chooses the window.",
        kind: "pooling", max: "max", average: "average", window: "window", kernel: "kernel", stride: "stride",
        padding: "padding", forward: "Forward", backward: "Backward",
        won: (pixel, dy) => `x[${pixel}] wins: dx[${pixel}] receives dy = ${dy}, the other pixels of the window nothing`,
        shared: (count, part) => `each of its ${count} pixels receives ${part}`,
        lost: (count) => `; what its ${count} zeros of the padding would receive is thrown away`,
        wins: "windows won by each pixel", shares: "shares of windows that each pixel has",
    },
    zh: {
        how: "上下拖动带点线的数，或用键盘：Tab 移到这些数，← → 换一个，↑ ↓ 改变它。点击 y 可选择窗口。",
        kind: "池化", max: "最大", average: "平均", window: "窗口", kernel: "核", stride: "步幅",
        padding: "填充", forward: "前向", backward: "反向",
        won: (pixel, dy) => `x[${pixel}] 胜出：dx[${pixel}] 得到 dy = ${dy}，窗口的其他像素什么也得不到`,
        shared: (count, part) => `它的 ${count} 个像素各得到 ${part}`,
        lost: (count) => `；填充处的 ${count} 个 0 本该得到的部分被丢弃`,
        wins: "每个像素胜出的窗口数", shares: "每个像素在各窗口中所占的份额",
    },
};

export default async function (body, words, call) {
    const x = [[1, 2, 0, 1, 2], [0, 3, 3, 2, 0], [2, 1, 1, 0, 4], [1, 0, 2, 3, 1], [5, 1, 0, 1, 2]];
    const dy = Array.from({ length: 49 }, (_, place) => [1, 2, 3, -1, 2][place % 5]);
    const at = { kind: "max", kernel: 3, stride: 2, padding: 0 };
    let now = null;

    const windows = new Windows(words.window, draw);
    const image = new Matrix({ name: "x", edit: { min: -9, max: 9, set: (r, c, value) => ((x[r][c] = value), compute()) } });
    const y = new Matrix({ name: "y", pick: (r, c) => windows.go(windows.number(r, c)) });
    const set = (r, c, value) => ((dy[windows.number(r, c)] = value), compute());
    const given = new Matrix({ name: "dy", edit: { min: -9, max: 9, set } });
    const dx = new Matrix({ name: "dx" });
    const wins = new Matrix({ name: "wins", label: words.wins, wide: 28, high: 22 });
    const named = element("span");
    wins.node.firstElementChild.replaceChildren(named);

    const options = ["max", "average"].map((kind) => [kind, words[kind]]);
    const kind = choice({ label: words.kind, options, value: "max", onchange: (key) => ((at.kind = key), compute()) });
    const sliders = [["kernel", 2, 3], ["stride", 1, 3], ["padding", 0, 1]].map(([name, min, max]) =>
        slider({ label: words[name], min, max, value: at[name], onchange: (n) => ((at[name] = n), compute()) }));
    const said = element("p", { class: "figure-said", "aria-live": "polite" });
    const titled = (title, ...nodes) => [element("p", { class: "figure-title" }, title), row(...nodes)];
    const light = link(body);

    body.append(
        element("p", { class: "figure-how" }, words.how),
        element("div", { class: "figure-controls" }, kind.node, windows.node, ...sliders.map((one) => one.node)), said,
        ...titled(words.forward, image.node, sign("→"), y.node),
        ...titled(words.backward, given.node, sign("→"), dx.node, wins.node),
    );

    async function compute() {
        if (now) image.draw(x, mark, pixels());
        const found = await call("numbers", at.kind, x, dy, at.kernel, at.stride, at.padding);
        if (!found) return;
        now = { ...found, ...at };
        windows.set(now.y, now.kernel, now.stride, now.padding);
    }

    const mark = (r, c) => (now.shares[windows.at]?.[r]?.[c] ? "given" : windows.has(r, c) ? "seen" : "");

    // A maximum takes no pixel of the padding, an average its zeros. A pixel lights up where it is in x, dx and wins.

    const pixels = (value = now.kind === "max" ? "−∞" : "0") => ({
        border: now.padding ? { wide: now.padding, value: () => value } : null,
        term: (r, c) => `${r},${c}`,
    });

    function draw() {
        const { at: window, row: r, column: c } = windows;
        const here = (r, c) => (windows.number(r, c) === window ? "given" : "");
        image.draw(x, mark, pixels()), y.draw(now.y, here), given.draw(now.dy, here), dx.draw(now.dx, mark, pixels(""));
        named.textContent = now.kind === "max" ? words.wins : words.shares;
        const count = (r, c) => now.shares.reduce((total, share) => total + share[r][c], 0);
        wins.draw(x.map((line, r) => line.map((_, c) => count(r, c))), () => "faint", { term: pixels().term });
        const got = now.shares[window].flatMap((line, row) => line.flatMap((share, column) => (share ? [[row, column]] : [])));
        const text = now.kind === "max"
            ? words.won(got[0].join(", "), shown(now.dy[r][c]))
            : words.shared(got.length, shown(now.parts[window][got[0][0]][got[0][1]]));
        const zeros = now.kind === "max" ? 0 : now.kernel ** 2 - got.length;
        said.textContent = `y[${r}, ${c}] = ${shown(now.y[r][c])}; ${text}${zeros ? words.lost(zeros) : ""}`;
        light();
    }

    await compute();
}
