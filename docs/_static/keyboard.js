/* What the theme leaves to mouse and finger, by keyboard, too. */

{
    /* Its two drawers: their icons become buttons, and Escape closes what they opened. */
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
            const first = [...drawer.querySelectorAll("a, input")].find((node) => node.getClientRects().length);
            if (box.checked) first?.focus({ preventScroll: true }); // the page's own link is in no list that is shown
        });
        drawer.addEventListener("keydown", (event) => {
            if (event.key !== "Escape" || !box.checked || !icon.offsetParent) return;
            box.click();
            icon.focus();
        });
        tell();
    }

    /* A table or code that is wider than its place scrolls, by the arrow keys once it has the focus. */
    const ours = new WeakSet();
    const reach = (box) => {
        const scrolls = box.scrollWidth > box.clientWidth;
        if (scrolls && !box.hasAttribute("tabindex")) {
            box.tabIndex = 0;
            ours.add(box);
        } else if (!scrolls && ours.delete(box)) box.removeAttribute("tabindex");
    };
    const seen = new ResizeObserver((changes) => changes.forEach((change) => reach(change.target)));
    for (const box of document.querySelectorAll(".table-wrapper, .highlight > pre")) seen.observe(box);
}
