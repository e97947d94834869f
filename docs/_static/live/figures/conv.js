// A window slides over an image. Forward: its row of the patch matrix. Backward: what it hands back to the image.

import { Matrix, Windows, button, choice, element, formula, link, row, shown, sign, slider, still } from "./shared.js";

export const words = {
    en: {
        window: "window", stride: "stride", padding: "padding", play: "Let it slide", pause: "Stop",
        forward: "Forward, im2col: y = P Θ", backward: "Backward, col2im: dP = dy Θᵀ, and dx adds up",
        shows: "dx of", alone: "this window", sofar: "the windows so far", all: "all windows",
        how: "Drag a number with a dotted line up or down, or use the keyboard: Tab leads to the numbers, ← and → to the next one, ↑ and ↓ change it. What it is multiplied with lights up. A click on y, P or dP chooses the window.",
        adjoint: "⟨im2col(x), dP⟩ = ⟨x, col2im(dP)⟩:",
        zeros: (count) => `; ${count} of its pixels lie in the padding and are 0`,
        thrown: (sum) => `What falls on the padding, ${sum} in all, is thrown away: no pixel of x is there.`,
    },
    zh: {
        window: "窗口", stride: "步幅", padding: "填充", play: "让窗口滑动", pause: "停止",
        forward: "前向，im2col：y = P Θ", backward: "反向，col2im：dP = dy Θᵀ，累加成 dx",
        shows: "dx 来自", alone: "这个窗口", sofar: "到此为止的窗口", all: "所有窗口",
        how: "上下拖动带点线的数，或用键盘：Tab 移到这些数，← → 换一个，↑ ↓ 改变它。与它相乘的数会亮起来。点击 y、P 或 dP 可选择窗口。",
        adjoint: "⟨im2col(x), dP⟩ = ⟨x, col2im(dP)⟩：",
        zeros: (count) => `；其中 ${count} 个像素落在填充处，取 0`,
        thrown: (sum) => `落在填充处的梯度（合计 ${sum}）被丢弃：那里没有 x 的像素。`,
    },
};

export default async function (body, words, call) {
    const x = [[1, 2, 0, 1], [0, 1, 3, 2], [2, 1, 1, 0], [1, 0, 2, 3]];
    const weight = [[1, -1], [2, 0]];
    const dy = Array.from({ length: 25 }, (_, place) => [1, 2, 3, -1][place % 4]);
    const at = { stride: 1, padding: 0, parts: "sofar" };
    let now = null;

    const edit = (array) => ({ min: -9, max: 9, set: (r, c, value) => ((array[r][c] = value), compute()) });
    const small = { wide: 26, high: 22 };
    const windows = new Windows(words.window, draw);
    const image = new Matrix({ name: "x", edit: edit(x) });
    const kernel = new Matrix({ name: "weight", edit: edit(weight) });
    const P = new Matrix({ name: "P", ...small, pick: (r) => windows.go(r) });
    const column = new Matrix({ name: "Θ", ...small });
    const y = new Matrix({ name: "y", pick: (r, c) => windows.go(windows.number(r, c)) });
    const set = (r, c, value) => ((dy[windows.number(r, c)] = value), compute());
    const given = new Matrix({ name: "dy", edit: { min: -9, max: 9, set } });
    const dP = new Matrix({ name: "dP", ...small, pick: (r) => windows.go(r) });
    const dx = new Matrix({ name: "dx" });

    const stride = slider({ label: words.stride, min: 1, max: 2, value: 1, onchange: (n) => ((at.stride = n), compute()) });
    const padding = slider({ label: words.padding, min: 0, max: 1, value: 0, onchange: (n) => ((at.padding = n), compute()) });
    const parts = choice({
        label: words.shows, value: at.parts, onchange: (key) => ((at.parts = key), draw()),
        options: ["alone", "sofar", "all"].map((key) => [key, words[key]]),
    });
    const sum = element("p", { class: "figure-said", "aria-live": "polite" });
    const thrown = element("p", { class: "figure-how", "data-name": "thrown" });
    const adjoint = element("p", { class: "figure-how" });
    const controls = element("div", { class: "figure-controls" }, windows.node, stride.node, padding.node);
    if (!still()) controls.append(slide());
    const light = link(body);

    body.append(
        element("p", { class: "figure-how" }, words.how), controls, sum,
        element("p", { class: "figure-title" }, words.forward),
        row(image.node, kernel.node, sign("→"), P.node, sign("·"), column.node, sign("="), y.node),
        element("p", { class: "figure-title" }, words.backward),
        row(given.node, sign("→"), dP.node, sign("→"), dx.node), thrown, parts.node, adjoint,
    );

    async function compute() {
        kernel.draw(weight);
        image.draw(x, mark, now ? around(() => 0) : {});
        const found = await call("numbers", x, weight, dy, at.stride, at.padding);
        if (!found) return;
        now = { ...found, stride: at.stride, padding: at.padding };
        windows.set(now.y, weight.length, now.stride, now.padding);
    }

    // The border of the padding, and the numbers in it; a pixel lights up with what the window multiplies it by.

    const around = (value) => ({
        border: now.padding ? { wide: now.padding, value } : null,
        term: (r, c) => (windows.has(r, c) ? windows.place(r, c) : null),
    });
    const mark = (r, c) => (now && windows.has(r, c) ? "seen" : "");

    function draw() {
        const { at: window, row: r, column: c } = windows;
        const here = (r, c) => (windows.number(r, c) === window ? "seen" : "");
        const inRow = { term: (r, k) => (r === window ? k : null) };
        image.draw(x, mark, around(() => 0));
        kernel.draw(weight, () => "", { term: (r, c) => r * weight.length + c });
        P.draw(now.P, (r) => (r === window ? "seen" : ""), inRow);
        column.draw(weight.flat().map((number) => [number]), () => "", { term: (k) => k });
        y.draw(now.y, here);
        given.draw(now.dy, (r, c) => here(r, c) && "given");
        dP.draw(now.dP, (r) => (r === window ? "given" : at.parts === "sofar" && r > window ? "faint" : ""), inRow);
        drawBack(window);
        const weights = weight.flat();
        const terms = now.P[window].map((number, k) => [`${shown(number)}·${bracketed(weights[k])}`, k, ""]);
        const zeros = terms.length - x.flatMap((line, r) => line.filter((_, c) => windows.has(r, c))).length;
        sum.replaceChildren(...formula([
            `y[${r}, ${c}] = `, ...terms.flatMap((term, k) => (k ? [" + ", term] : [term])),
            ` = ${shown(now.y[r][c])}${zeros ? words.zeros(zeros) : ""}`,
        ]));
        adjoint.textContent = `${words.adjoint} ${now.products.map((number) => shown(number)).join(" = ")}`;
        light();
    }

    function drawBack(window) {
        const [from, to] = { alone: [window, window + 1], sofar: [0, window + 1], all: [0, now.parts.length] }[at.parts];
        const wide = now.padding;
        const added = (r, c) => now.parts.slice(from, to).reduce((total, part) => total + part[r + wide][c + wide], 0);
        const inside = at.parts === "all" ? now.dx : x.map((line, r) => line.map((_, c) => added(r, c)));
        const kind = (r, c) => `${windows.has(r, c) ? "given" : ""}${inside[r]?.[c] === undefined && added(r, c) ? " thrown" : ""}`;
        dx.draw(inside, kind, around((r, c) => shown(added(r, c))));
        let lost = 0;
        for (let r = -wide; wide && r < x.length + wide; r++) {
            for (let c = -wide; c < x[0].length + wide; c++) if (inside[r]?.[c] === undefined) lost += added(r, c);
        }
        thrown.textContent = wide ? words.thrown(shown(lost)) : "";
    }

    const bracketed = (number) => (number < 0 ? `(${shown(number)})` : shown(number));

    function slide() {
        let timer = null;
        const pressed = button(words.play, () => {
            timer = timer ? clearInterval(timer) : setInterval(() => {
                if (!body.isConnected) return clearInterval(timer);
                windows.go((windows.at + 1) % now.P.length);
            }, 700);
            pressed.textContent = timer ? words.pause : words.play;
        });
        return pressed;
    }

    await compute();
}
