// Gives a page's Python blocks their buttons. Plain, not a module: those are not loaded from a file.

(() => {
    const script = new URL(document.currentScript.src);
    if (script.protocol === "file:") return;
    import(new URL("blocks.js", script));
})();
