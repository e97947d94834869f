// What figures share: parts of a page and of a drawing, and values that are changed by mouse, finger and keyboard.

import { element, svg } from "./parts.js";

export { element, svg };
export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// A number as it is shown: no more digits than needed, and a minus sign as long as a plus.

export function shown(value, digits = 2) {
    const text = String(Number(value.toFixed(digits)));
    return (text === "-0" ? "0" : text).replace("-", "−");
}

// A picture of a size of its own, which shrinks where there is less room.

export function drawing(width, height, label, ...children) {
    return svg(
        "svg",
        { viewBox: `0 0 ${width} ${height}`, style: `width: ${width}px`, role: "group", "aria-label": label },
        ...children,
    );
}

export const clamp = (value, min, max) => Math.min(max, Math.max(min, value));

export const row = (...nodes) => element("div", { class: "figure-row" }, ...nodes);
export const sign = (text) => element("span", { class: "figure-sign", "aria-hidden": "true" }, text);

// What belongs together has the same data-term: where the mouse, a finger or the focus is on one, all of them are lit.

// -> a function to call where terms have changed.

export function link(body) {
    let over = null;
    const light = () => {
        const term = over ?? document.activeElement?.closest("[data-term]")?.dataset.term;
        for (const node of body.querySelectorAll("[data-term]")) node.toggleAttribute("data-lit", node.dataset.term === term);
        for (const node of body.querySelectorAll("[data-lit]:not([data-term])")) node.removeAttribute("data-lit");
    };
    const now = (term) => ((over = term), light());
    for (const kind of ["pointerover", "pointerdown"]) {
        body.addEventListener(kind, ({ target }) => now(target.closest("[data-term]")?.dataset.term));
    }
    body.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && now(null)); // a tap stays lit
    body.addEventListener("focusin", ({ target }) => (target.closest("[data-term]") ? now(null) : light()));
    return light;
}

// A text in which some pieces are terms: parts are strings, or [text, term, colour].

export function formula(parts) {
    return parts.map((part) => (typeof part === "string" ? part
        : element("span", { "data-term": part[1], class: `figure-term ${part[2] ?? ""}` }, part[0])));
}

// A line of code with its terms: of [text, term, colour] each text is found once, in their order.

export function codeTerms(line, terms) {
    const parts = [];
    for (const term of terms) {
        const [before, ...after] = line.split(term[0]);
        parts.push(before, term);
        line = after.join(term[0]);
    }
    return formula([...parts, line]);
}

// Controls ------------------------------------------------------------------------------------------------------------

export function slider({ label, min, max, step = 1, value, text = (number) => shown(number), onchange }) {
    const output = element("output");
    const input = element("input", { type: "range", min, max, step, value });
    const node = element("label", { class: "figure-slider" }, element("span", {}, label), input, output);
    const show = () => {
        output.textContent = text(Number(input.value), Number(input.max));
        input.setAttribute("aria-valuetext", output.textContent);
    };
    input.addEventListener("input", () => (show(), onchange(Number(input.value))));
    show();
    return {
        node,
        get value() { return Number(input.value); },
        set value(number) { input.value = number; show(); },
        set max(number) { input.max = number; show(); },
        get max() { return Number(input.max); },
    };
}

let groups = 0;

export function choice({ label, options, value, onchange }) {
    const name = `figure-choice-${++groups}`;
    const node = element("fieldset", { class: "figure-choice" }, element("legend", {}, label));
    for (const [key, text] of options) {
        const input = element("input", { type: "radio", name, value: key, onchange: () => onchange(key) });
        input.checked = key === value;
        node.append(element("label", {}, input, text));
    }
    return { node };
}

export function check({ label, value, onchange }) {
    const input = element("input", { type: "checkbox", onchange: () => onchange(input.checked) });
    input.checked = value;
    return { node: element("label", { class: "figure-check" }, input, label), input };
}

export const button = (text, onclick) => element("button", { type: "button", onclick }, text);

// A part of a drawing that has a number: dragging changes it, and so do the arrow keys, Page Up and Down, Home and End.
// `along`: "y", upwards is more, or "x". `pixels`: how far one is, on the drawing as it is on the screen.
// `beside(-1 or 1)`: where the keys left and right go to, for one of several values.

export function adjustable(node, { label, min, max, step = 1, along = "y", pixels, get, set, beside }) {
    const move = (value) => set(clamp(Math.round(value / step) * step, min, max));
    node.setAttribute("role", along === "y" && beside ? "spinbutton" : "slider");
    node.setAttribute("tabindex", 0);
    node.setAttribute("aria-label", label);
    node.setAttribute("aria-valuemin", min);
    node.setAttribute("aria-valuemax", max);
    if (along === "y" && !beside) node.setAttribute("aria-orientation", "vertical");
    node.classList.add("figure-adjustable");
    node.show = () => {
        node.setAttribute("aria-valuenow", Number(get().toFixed(6)));
        node.setAttribute("aria-valuetext", shown(get()));
    };
    node.show();
    node.addEventListener("keydown", (event) => {
        const larger = { PageUp: 5, PageDown: -5, ArrowUp: 1, ArrowDown: -1 }[event.key];
        const sideways = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (larger) move(get() + larger * step);
        else if (sideways && beside) beside(sideways);
        else if (sideways) move(get() + sideways * step);
        else if (event.key === "Home") move(min);
        else if (event.key === "End") move(max);
        else return;
        event.preventDefault();
    });
    // A finger that drags must not scroll the page; of a part of a drawing CSS's touch-action alone does not prevent it.
    node.addEventListener("touchstart", (event) => event.preventDefault(), { passive: false });
    node.addEventListener("pointerdown", (event) => {
        if (event.button) return;
        const place = (pointer) => (along === "y" ? -pointer.clientY : pointer.clientX);
        const [from, began] = [place(event), get()];
        const drag = (pointer) => {
            const scale = node.ownerSVGElement.getScreenCTM().a * pixels;
            move(began + (place(pointer) - from) / scale);
        };
        const end = () => {
            node.removeEventListener("pointermove", drag);
            node.classList.remove("figure-held");
        };
        node.setPointerCapture(event.pointerId);
        node.classList.add("figure-held");
        node.focus({ preventScroll: true });
        node.addEventListener("pointermove", drag);
        node.addEventListener("pointerup", end, { once: true });
        node.addEventListener("pointercancel", end, { once: true });
        event.preventDefault();
    });
    return node;
}

const marked = (node, term) => (term === null || term === undefined ? delete node.dataset.term : (node.dataset.term = term));

// A matrix of numbers -------------------------------------------------------------------------------------------------

// name: what it is called. wide, high: of a cell. edit: { min, max, step, set(row, column, value) } where its numbers
// may be changed. pick(row, column): a click on a number. draw(values, kind, { border, term }): kind(row, column) is a
// class of the cell, term(row, column) what lights up with it; border, { wide, value(row, column) }, is a number of
// cells around the matrix, which cannot be changed. names, for a square matrix, stand at its rows and columns.

export class Matrix {
    constructor({ name, label = name, wide = 32, high = 26, digits = 2, edit = null, pick = null, names = [] }) {
        Object.assign(this, { name, label, wide, high, digits, edit, pick, names });
        this.box = element("div", { class: "figure-drawing" });
        this.node = element("div", { class: "figure-matrix" }, element("div", { class: "figure-name" }, name), this.box);
        this.cells = [];
    }

    draw(values, kind = () => "", { border = null, term = null } = {}) {
        this.values = values;
        const size = [values.length, values[0].length, border?.wide ?? 0].join(" ");
        if (this.size !== size) this.build(border?.wide ?? 0);
        this.size = size;
        for (const { node, text, r, c } of this.ring) {
            text.textContent = border.value(r, c);
            node.setAttribute("class", `figure-cell border ${kind(r, c)}`);
            marked(node, term?.(r, c));
        }
        values.forEach((row, r) => row.forEach((value, c) => {
            const cell = this.cells[r][c];
            const text = shown(value, this.digits);
            if (cell.text.textContent !== text) cell.text.textContent = text;
            cell.node.setAttribute("class", `figure-cell ${this.edit ? "figure-adjustable " : ""}${this.pick ? "figure-pick " : ""}${kind(r, c)}`);
            cell.node.dataset.value = value;
            marked(cell.node, term?.(r, c));
            cell.node.show?.();
        }));
    }

    build(border) {
        const { wide, high, values, names } = this;
        const [left, top] = names.length ? [56, 32] : [1, 1];
        const [width, height] = [(values[0].length + 2 * border) * wide, (values.length + 2 * border) * high];
        const svgs = drawing(left + width + 1, top + height + 1, this.label);
        svgs.dataset.matrix = this.name;
        names.forEach((name, place) => svgs.append(
            svg("text", { class: "figure-side", x: left - 4, y: top + (place + 0.5) * high }, name),
            svg("text", { x: left + (place + 0.5) * wide, y: top - (place % 2 ? 23 : 9) }, name), // neighbours have room
        ));
        const made = (r, c, attributes) => {
            const [x, y] = [(c + border) * wide + left, (r + border) * high + top];
            const text = svg("text", { x: x + wide / 2, y: y + high / 2 });
            const node = svg("g", attributes, svg("rect", { x, y, width: wide, height: high }), text);
            svgs.append(node);
            return { node, text, r, c };
        };
        this.ring = [];
        for (let r = -border; r < values.length + border; r++) {
            for (let c = -border; c < values[0].length + border; c++) {
                if (!values[r] || values[r][c] === undefined) this.ring.push(made(r, c, { "data-border": `${r} ${c}` }));
            }
        }
        this.cells = values.map((row, r) => row.map((_, c) => {
            const cell = made(r, c, { "data-row": r, "data-column": c });
            if (this.edit) this.makeEditable(cell.node, r, c);
            if (this.pick) cell.node.addEventListener("click", () => this.pick(r, c));
            return cell;
        }));
        this.box.replaceChildren(svgs);
    }

    makeEditable(node, r, c) {
        const { edit } = this;
        adjustable(node, {
            label: `${this.label}[${r}, ${c}]`,
            min: edit.min, max: edit.max, step: edit.step ?? 1, pixels: 14 / (edit.step ?? 1),
            get: () => this.values[r][c],
            set: (value) => value !== this.values[r][c] && edit.set(r, c, value),
            beside: (by) => this.focus(r * this.values[0].length + c + by),
        });
        node.setAttribute("tabindex", r + c ? -1 : 0);
        node.addEventListener("focus", () => {
            for (const cell of this.cells.flat()) cell.node.setAttribute("tabindex", cell.node === node ? 0 : -1);
        });
    }

    focus(place) {
        this.cells.flat()[place]?.node.focus();
    }
}

// Windows over an image: the one that is looked at, chosen by its slider ------------------------------------------------

export class Windows {
    constructor(label, onmove) {
        this.at = 0;
        this.onmove = onmove;
        this.slider = slider({ label, min: 1, max: 1, value: 1, text: (n, most) => `${n} / ${most}`, onchange: (n) => this.go(n - 1) });
        this.node = this.slider.node;
    }

    // y: a number for each window. The window stays where it was, if there still is one.

    set(y, size, stride, padding) {
        Object.assign(this, { rows: y.length, columns: y[0].length, size, stride, padding });
        this.slider.max = this.rows * this.columns;
        this.go(Math.min(this.at, this.rows * this.columns - 1));
    }

    go(at) {
        this.at = at;
        this.slider.value = at + 1;
        this.onmove();
    }

    number = (r, c) => r * this.columns + c;
    get row() { return Math.floor(this.at / this.columns); }
    get column() { return this.at % this.columns; }

    // Where in the window a pixel is, in reading order; -1 outside it.

    place(r, c) {
        const [down, right] = [r - this.row * this.stride + this.padding, c - this.column * this.stride + this.padding];
        const inside = Math.min(down, right) >= 0 && Math.max(down, right) < this.size;
        return inside ? down * this.size + right : -1;
    }

    has = (r, c) => this.columns !== undefined && this.place(r, c) >= 0;
}

// Columns: a bar for each value of each series, beside each other, from zero up or down --------------------------------

// most: the largest size that is drawn, null for what there is. edit: { min, max, step, set(place, value) }: the tips move.
// term(series, place): what lights up with a bar. onplace(place): a bar was chosen.

export class Columns {
    constructor({ name, label = name, names = null, most = null, edit = null, wide = 48, high = 170, colours = ["one"], lowest = -1, term = null, onplace = null, digits = 2 }) {
        Object.assign(this, { name, label, names, most, edit, wide, high, colours, lowest, term, onplace, digits });
        this.box = element("div", { class: "figure-drawing" });
        this.node = element("div", { class: "figure-columns" }, element("div", { class: "figure-name" }, name), this.box);
    }

    draw(...series) {
        this.series = series;
        if (this.bars?.length !== series.length || this.bars[0].length !== series[0].length) this.build();
        const most = this.most ?? nice(Math.max(...series.flat().map(Math.abs), 1e-6));
        const zero = this.lowest ? this.high / 2 : this.high;
        const room = (this.lowest ? this.high / 2 : this.high) - 22;
        const far = (value) => (clamp(value, -most * 1.1, most * 1.1) / most) * room;
        series.forEach((values, s) => values.forEach((value, place) => {
            const { node, rect, tip, text } = this.bars[s][place];
            const tall = far(value);
            rect.setAttribute("y", zero - Math.max(tall, 0));
            rect.setAttribute("height", Math.abs(tall));
            tip?.setAttribute("cy", zero - tall);
            text?.setAttribute("y", zero - tall + (tall < 0 ? 1 : -1) * (this.edit ? 16 : 10));
            if (text) text.textContent = shown(value, this.digits);
            node.dataset.value = value;
            node.show?.();
        }));
    }

    // Lines across, at some heights, each with a class.

    guide(...heights) {
        const room = (this.lowest ? this.high / 2 : this.high) - 22;
        const zero = this.lowest ? this.high / 2 : this.high;
        this.guides.replaceChildren(...heights.map(([value, kind]) => svg("line", {
            class: `figure-guide ${kind}`, x1: 0, x2: this.series[0].length * this.wide,
            y1: zero - (value / this.most) * room, y2: zero - (value / this.most) * room,
        })));
    }

    build() {
        const { series, wide, high, colours } = this;
        const count = series[0].length;
        const under = this.names ? 18 : 0;
        const zero = this.lowest ? high / 2 : high;
        const svgs = drawing(count * wide, high + under + 4, this.label);
        svgs.dataset.matrix = this.name;
        this.guides = svg("g");
        svgs.append(this.guides, svg("line", { class: "figure-zero", x1: 0, x2: count * wide, y1: zero, y2: zero }));
        const room = (this.lowest ? high / 2 : high) - 22;
        this.bars = series.map((values, s) => values.map((_, place) => {
            const thick = this.edit ? 12 : (wide - 14) / series.length;
            const left = place * wide + (this.edit ? (wide - thick) / 2 : 7 + s * thick);
            const rect = svg("rect", { x: left, width: Math.max(thick - 1, 2), class: `figure-fill-${colours[s]}` });
            const node = svg("g", { "data-row": s, "data-column": place, class: "figure-bar" }, rect);
            const bar = { node, rect };
            if (this.edit) node.append((bar.tip = svg("circle", { cx: left + thick / 2, r: 8, class: `figure-fill-${colours[s]}` })));
            if (series.length === 1) node.append((bar.text = svg("text", { x: left + thick / 2 })));
            if (this.edit) this.makeEditable(node, place, room);
            if (this.onplace) for (const kind of ["focus", "pointerdown"]) node.addEventListener(kind, () => this.onplace(place));
            marked(node, this.term?.(s, place));
            svgs.append(node);
            return bar;
        }));
        this.names?.forEach((name, place) => svgs.append(svg("text", { x: (place + 0.5) * wide, y: high + 12 }, name)));
        this.box.replaceChildren(svgs);
    }

    makeEditable(node, place, room) {
        const { edit } = this;
        adjustable(node, {
            label: `${this.label}[${place}]`, min: edit.min, max: edit.max, step: edit.step,
            pixels: room / this.most, get: () => this.series[0][place],
            set: (value) => value !== this.series[0][place] && edit.set(place, value),
            beside: (by) => this.bars[0][place + by]?.node.focus(),
        });
        node.setAttribute("tabindex", place ? -1 : 0);
        node.addEventListener("focus", () => {
            for (const bar of this.bars[0]) bar.node.setAttribute("tabindex", bar.node === node ? 0 : -1);
        });
    }
}

// 1, 2 or 5 times a power of ten: the smallest that is not less.

export function nice(value) {
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 5, 10].map((times) => times * power).find((round) => round >= value * 0.9999);
}

// Lines over an axis of numbers, as wide as there is room, with a mark that a finger or the mouse moves (give a slider
// for it, too). Where the room changes it is drawn anew, so that its words keep their size. -----------------------------

export class Plot {
    constructor({ label, x, y, high = 200, logarithmic = false, onmark = null, xname = "", yname = "" }) {
        Object.assign(this, { label, xs: x, ys: y, high, logarithmic, xname, yname, lines: [], wide: 620, left: 52 });
        this.axes = svg("g", { class: "figure-axes" });
        this.paths = svg("g", { class: "figure-lines" });
        this.line = svg("line", { class: "figure-mark", y1: 8, y2: high, visibility: "hidden" });
        this.said = svg("text", { class: "figure-empty", y: high / 2 });
        this.drawn = drawing(this.wide, high + 38, label, this.axes, this.line, this.paths, this.said);
        this.drawn.classList.add("figure-plot");
        this.node = element("div", { class: "figure-drawing" }, element("div", { class: "figure-name" }, yname), this.drawn);
        if (onmark) this.listen(onmark);
        this.axis();
        new ResizeObserver(([{ contentRect }]) => this.fit(Math.min(620, Math.floor(contentRect.width)))).observe(this.node);
    }

    fit(wide) {
        if (wide < 100 || wide === this.wide) return;
        this.wide = wide;
        this.drawn.setAttribute("viewBox", `0 0 ${wide} ${this.high + 38}`);
        this.drawn.style.width = `${wide}px`;
        this.axis();
        this.draw(this.lines);
        if (this.marked !== undefined) this.mark(this.marked);
    }

    // A sentence in the place of lines.

    say(text) {
        this.said.textContent = text;
        this.said.setAttribute("x", (this.left + this.wide - 12) / 2);
    }

    across = (value) => this.left + ((value - this.xs[0]) / (this.xs[1] - this.xs[0])) * (this.wide - this.left - 12);
    up = (value) => {
        const [low, most] = this.logarithmic ? this.ys.map(Math.log10) : this.ys;
        const at = this.logarithmic ? Math.log10(Math.max(value, 1e-300)) : value;
        return this.high - clamp((at - low) / (most - low || 1), -0.02, 1.02) * (this.high - 12);
    };

    set x(range) { this.xs = range; this.axis(); }
    set y(range) { this.ys = range; this.axis(); }

    axis() {
        const { high, wide, left } = this;
        const text = (words, attributes) => svg("text", attributes, words);
        const [low, most] = this.ys;
        const heights = this.logarithmic ? decades(low, most) : [0, 0.25, 0.5, 0.75, 1].map((part) => low + part * (most - low));
        const places = [0, 0.25, 0.5, 0.75, 1].map((part) => Math.round(this.xs[0] + part * (this.xs[1] - this.xs[0])));
        this.axes.replaceChildren(
            ...heights.flatMap((value) => [
                svg("line", { class: "figure-grid", x1: left, x2: wide - 12, y1: this.up(value), y2: this.up(value) }),
                this.logarithmic
                    ? text("10", { x: left - 25, y: this.up(value) + 2, class: "figure-tick" })
                    : text(shown(value, 4), { x: left - 8, y: this.up(value), class: "figure-tick" }),
                ...(this.logarithmic ? [text(shown(Math.log10(value), 0), { x: left - 24, y: this.up(value) - 4, class: "figure-power" })] : []),
            ]),
            ...[...new Set(places)].map((value) => text(shown(value), { x: this.across(value), y: high + 14 })),
            text(this.xname, { x: (left + wide - 12) / 2, y: high + 30 }),
        );
    }

    // lines: [{ points: [[x, y], ...], kind, name }]

    draw(lines) {
        this.lines = lines;
        this.say(this.said.textContent);
        this.paths.replaceChildren(...lines.map(({ points, kind, name }) => {
            const path = points.map(([x, y], place) => `${place ? "L" : "M"}${this.across(x).toFixed(1)} ${this.up(y).toFixed(1)}`).join("");
            return svg("path", { d: path, class: `figure-line figure-stroke-${kind}`, "data-line": name });
        }));
    }

    mark(x) {
        this.marked = x;
        this.line.removeAttribute("visibility");
        this.line.setAttribute("x1", this.across(x));
        this.line.setAttribute("x2", this.across(x));
    }

    listen(onmark) {
        const moved = (event) => {
            const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.drawn.getScreenCTM().inverse());
            const share = (point.x - this.left) / (this.wide - this.left - 12);
            onmark(clamp(this.xs[0] + share * (this.xs[1] - this.xs[0]), ...this.xs));
        };
        this.drawn.addEventListener("pointerdown", (event) => {
            this.drawn.setPointerCapture(event.pointerId);
            moved(event);
        });
        this.drawn.addEventListener("pointermove", (event) => this.drawn.hasPointerCapture(event.pointerId) && moved(event));
        this.drawn.style.touchAction = "pan-y";
    }
}

// The powers of ten from low to most, at most about eight of them.

export function decades(low, most) {
    const [from, to] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(most) + 1e-9)];
    const by = Math.max(1, Math.ceil((to - from) / 7));
    return Array.from({ length: Math.floor((to - from) / by) + 1 }, (_, place) => 10 ** (from + place * by));
}
