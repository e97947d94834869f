// What figures share: parts of a page and of a drawing, and values that are changed by mouse, finger and keyboard.

const SVG = "http://www.w3.org/2000/svg";

function made(node, attributes, children) {
    for (const [key, value] of Object.entries(attributes)) {
        if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
        else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value);
    }
    node.append(...children);
    return node;
}

export const element = (name, attributes = {}, ...children) => made(document.createElement(name), attributes, children);
export const svg = (name, attributes = {}, ...children) => made(document.createElementNS(SVG, name), attributes, children);

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

// A sentence for those who listen: the last of several quick ones, once nothing has changed for a while.

export class Hint {
    constructor() {
        this.node = element("p", { class: "figure-said", "aria-live": "polite" });
    }

    say(text) {
        this.node.textContent = text;
    }
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

// A matrix of numbers -------------------------------------------------------------------------------------------------

// name: what it is called. wide, high: of a cell. edit: { min, max, step, set(row, column, value) } where its numbers
// may be changed. pick(row, column): a click on a number. draw(values, kind): kind(row, column) is a class of the cell.

export class Matrix {
    constructor({ name, label = name, wide = 32, high = 26, digits = 2, edit = null, pick = null }) {
        Object.assign(this, { name, label, wide, high, digits, edit, pick });
        this.box = element("div", { class: "figure-drawing" });
        this.node = element("div", { class: "figure-matrix" }, element("div", { class: "figure-name" }, name), this.box);
        this.cells = [];
    }

    draw(values, kind = () => "") {
        this.values = values;
        if (this.cells.length !== values.length || this.cells[0]?.length !== values[0].length) this.build();
        values.forEach((row, r) => row.forEach((value, c) => {
            const cell = this.cells[r][c];
            const text = shown(value, this.digits);
            if (cell.text.textContent !== text) cell.text.textContent = text;
            cell.node.setAttribute("class", `figure-cell ${this.edit ? "figure-adjustable " : ""}${kind(r, c)}`);
            cell.node.dataset.value = value;
            cell.node.show?.();
        }));
    }

    build() {
        const { wide, high, values } = this;
        const svgs = drawing(values[0].length * wide + 2, values.length * high + 2, this.label);
        svgs.dataset.matrix = this.name;
        this.cells = values.map((row, r) => row.map((_, c) => {
            const text = svg("text", { x: (c + 0.5) * wide + 1, y: (r + 0.5) * high + 1 });
            const rect = svg("rect", { x: c * wide + 1, y: r * high + 1, width: wide, height: high });
            const node = svg("g", { "data-row": r, "data-column": c }, rect, text);
            if (this.edit) this.makeEditable(node, r, c);
            if (this.pick) node.addEventListener("click", () => this.pick(r, c));
            svgs.append(node);
            return { node, text };
        }));
        this.box.replaceChildren(svgs);
    }

    makeEditable(node, r, c) {
        const { edit } = this;
        adjustable(node, {
            label: `${this.label} ${r + 1}, ${c + 1}`,
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
