// A window slides over an image. Forward: its row of the patch matrix. Backward: what it hands back to the image.

import { Matrix, button, choice, element, shown, slider, still } from "./shared.js";

export const words = {
    en: {
        window: "window", stride: "stride", padding: "padding", play: "Let it slide", pause: "Stop",
        forward: "Forward, im2col: y = P Θ", backward: "Backward, col2im: dP = dy Θᵀ, and dx adds up",
        shows: "dx of", alone: "this window", sofar: "the windows so far", all: "all windows",
        how: "Drag a number with a dotted line up or down, or choose it with Tab and press the arrow keys.",
        adjoint: "⟨im2col(x), dP⟩ = ⟨x, col2im(dP)⟩:",
    },
    zh: {
        window: "窗口", stride: "步幅", padding: "填充", play: "让窗口滑动", pause: "停止",
        forward: "前向，im2col：y = P Θ", backward: "反向，col2im：dP = dy Θᵀ，累加成 dx",
        shows: "dx 来自", alone: "这个窗口", sofar: "到此为止的窗口", all: "所有窗口",
        how: "上下拖动带点线的数，或用 Tab 选中它，再按方向键。",
        adjoint: "⟨im2col(x), dP⟩ = ⟨x, col2im(dP)⟩：",
    },
};

export default async function (body, words, call) {
    const x = [[1, 2, 0, 1], [0, 1, 3, 2], [2, 1, 1, 0], [1, 0, 2, 3]];
    const weight = [[1, -1], [2, 0]];
    const dy = Array.from({ length: 25 }, (_, place) => [1, 2, 3, -1][place % 4]);
    const at = { window: 0, stride: 1, padding: 0, parts: "sofar" };
    let now = null;

    const edit = (array) => ({ min: -9, max: 9, set: (r, c, value) => ((array[r][c] = value), compute()) });
    const small = { wide: 26, high: 22 };
    const image = new Matrix({ name: "x", edit: edit(x) });
    const kernel = new Matrix({ name: "weight", edit: edit(weight) });
    const P = new Matrix({ name: "P", ...small, pick: (r) => go(r) });
    const column = new Matrix({ name: "Θ", ...small });
    const y = new Matrix({ name: "y", pick: (r, c) => go(r * now.y[0].length + c) });
    const set = (r, c, value) => ((dy[r * now.dy[0].length + c] = value), compute());
    const given = new Matrix({ name: "dy", edit: { min: -9, max: 9, set } });
    const dP = new Matrix({ name: "dP", ...small, pick: (r) => go(r) });
    const dx = new Matrix({ name: "dx" });

    const place = slider({ label: words.window, min: 1, max: 9, value: 1, text: (n, most) => `${n} / ${most}`,
        onchange: (n) => go(n - 1) });
    const stride = slider({ label: words.stride, min: 1, max: 2, value: 1, onchange: (n) => ((at.stride = n), compute()) });
    const padding = slider({ label: words.padding, min: 0, max: 1, value: 0, onchange: (n) => ((at.padding = n), compute()) });
    const parts = choice({
        label: words.shows, value: at.parts, onchange: (key) => ((at.parts = key), draw()),
        options: ["alone", "sofar", "all"].map((key) => [key, words[key]]),
    });
    const sum = element("p", { class: "figure-said", "aria-live": "polite" });
    const adjoint = element("p", { class: "figure-how" });
    const sign = (text) => element("span", { class: "figure-sign", "aria-hidden": "true" }, text);
    const row = (...nodes) => element("div", { class: "figure-row" }, ...nodes);
    const controls = element("div", { class: "figure-controls" }, place.node, stride.node, padding.node);
    if (!still()) controls.append(slide());

    body.append(
        element("p", { class: "figure-how" }, words.how), controls, sum,
        element("p", { class: "figure-title" }, words.forward),
        row(image.node, kernel.node, sign("→"), P.node, sign("·"), column.node, sign("="), y.node),
        element("p", { class: "figure-title" }, words.backward),
        row(given.node, sign("→"), dP.node, sign("→"), dx.node), parts.node, adjoint,
    );

    async function compute() {
        image.draw(x, mark), kernel.draw(weight);
        const found = await call("numbers", x, weight, dy, at.stride, at.padding);
        if (!found) return;
        now = found;
        place.max = now.P.length;
        go(Math.min(at.window, now.P.length - 1));
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
        return r >= top && r < top + 2 && c >= left && c < left + 2;
    }

    function mark(r, c) {
        return now && within(r, c) ? "seen" : "";
    }

    function draw() {
        const columns = now.y[0].length;
        const here = (r, c) => (r * columns + c === at.window ? "seen" : "");
        image.draw(x, mark);
        kernel.draw(weight);
        P.draw(now.P, (r) => (r === at.window ? "seen" : ""));
        column.draw(weight.flat().map((number) => [number]));
        y.draw(now.y, here);
        given.draw(now.dy, (r, c) => here(r, c) && "given");
        dP.draw(now.dP, (r) => (r === at.window ? "given" : at.parts === "sofar" && r > at.window ? "faint" : ""));
        const [from, to] = { alone: [at.window, at.window + 1], sofar: [0, at.window + 1], all: [0, now.parts.length] }[at.parts];
        const added = (r, c) => now.parts.slice(from, to).reduce((total, part) => total + part[r][c], 0);
        dx.draw(at.parts === "all" ? now.dx : x.map((line, r) => line.map((_, c) => added(r, c))), (r, c) => within(r, c) && "given");
        const terms = now.P[at.window].map((number, k) => `${shown(number)}·${bracketed(weight.flat()[k])}`);
        const [r, c] = [Math.floor(at.window / columns), at.window % columns];
        sum.textContent = `y[${r}, ${c}] = ${terms.join(" + ")} = ${shown(now.y[r][c])}`;
        adjoint.textContent = `${words.adjoint} ${now.products.map((number) => shown(number)).join(" = ")}`;
    }

    const bracketed = (number) => (number < 0 ? `(${shown(number)})` : shown(number));

    function slide() {
        let timer = null;
        const pressed = button(words.play, () => {
            timer = timer ? clearInterval(timer) : setInterval(() => {
                if (!body.isConnected) return clearInterval(timer);
                go((at.window + 1) % now.P.length);
            }, 700);
            pressed.textContent = timer ? words.pause : words.play;
        });
        return pressed;
    }

    await compute();
}
