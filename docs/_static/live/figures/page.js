// Gives a page's figures their buttons. Not a module: browsers load none for a page that is opened as a file.

(() => {
    const script = new URL(document.currentScript.src);
    if (script.protocol !== "file:") import(new URL("start.js", script));
})();
