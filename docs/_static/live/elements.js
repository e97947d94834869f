// What the scripts of live pages share: elements, and what is said while Python is loaded.

import { texts } from "./texts.js";

// element("button", { type: "button", onclick: f }, "text"): attributes, listeners where the value is a function.

export function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
        if (typeof value === "function") made.addEventListener(key.replace(/^on/, ""), value);
        else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
}

// For session.start(onProgress): where the start is.

export function progressText({ stage, loaded, total }) {
    const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
    return stage === "load" ? texts.loading(megabytes(loaded), megabytes(total)) : texts.starting;
}
