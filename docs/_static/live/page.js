// Loads what makes a page alive: blocks.js, or the module that data-module names. Not a module itself: browsers load none
// for a page that is opened as a file.

(() => {
    const script = new URL(document.currentScript.src);
    if (script.protocol !== "file:") return import(new URL(document.currentScript.dataset.module ?? "blocks.js", script));
    const note = document.createElement("p");
    note.className = "live-status";
    note.textContent = /^zh/.test(document.documentElement.lang) || /\/zh\//.test(location.pathname)
        ? "从文件打开的页面不能运行代码；由服务器提供时可以：make docs-serve。"
        : "The code can be run here where a server shows this page, not from a file: make docs-serve.";
    document.querySelector(".live[data-block], .exercise")?.before(note);
})();
