/* The theme's two drawers, by keyboard: their icons become buttons, and Escape closes what they opened. */
const icons = ".nav-overlay-icon > .icon, .toc-overlay-icon:not(.no-toc) > .icon";

for (const icon of document.querySelectorAll(icons)) {
    const box = icon.parentElement.control;
    const drawer = document.querySelector(box.id === "__toc" ? ".toc-drawer" : ".sidebar-drawer");
    const tell = () => icon.setAttribute("aria-expanded", box.checked);
    icon.tabIndex = 0;
    icon.setAttribute("role", "button");
    icon.setAttribute("aria-label", box.getAttribute("aria-label"));
    box.addEventListener("change", tell);
    icon.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        box.click();
        if (box.checked) drawer.querySelector("a, input").focus({ preventScroll: true });
    });
    drawer.addEventListener("keydown", (event) => {
        if (event.key !== "Escape" || !box.checked || !icon.offsetParent) return;
        box.click();
        icon.focus();
    });
    tell();
}
