// The link to the other language leads to the section that is being read: it has the same id there.

{
    const link = document.querySelector(".twin a");
    const place = () => {
        const sections = [...document.querySelectorAll("article section[id]")];
        const above = sections.filter(section => section.getBoundingClientRect().top < innerHeight / 3);
        link.hash = above.length > 1 ? above.at(-1).id : "";
    };
    for (const event of ["click", "auxclick", "contextmenu"]) link?.addEventListener(event, place);
}
