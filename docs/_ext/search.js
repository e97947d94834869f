/* The search's order and what it shows of a page: Sphinx puts this file into language_data.js (html_search_scorer). */
{
    const chinese = document.documentElement.lang.startsWith("zh");
    const tables = /^(zh\/)?(bibliography|corrections|exercise_sheet(_solutions)?|glossary|index|performance|practice|reference|results)\b/;

    /* Sphinx's own scores, then: pages of the reader's language first, and last among equals what lists everything. */
    window.Scorer = {
        objNameMatch: 11,
        objPartialMatch: 6,
        objPrio: { 0: 15, 1: 5, 2: -5 },
        objPrioDefault: 0,
        title: 15,
        partialTitle: 7,
        term: 5,
        partialTerm: 2,
        score: ([page, title, anchor, description, score]) =>
            score + (/^(zh\/)?layers\//.test(page) ? 0.5 : 0) - (tables.test(page) ? 1.5 : 0)
            - (page.startsWith("zh/") === chinese ? 0 : 1000),
    };

    /* A page's text, or that of the section with the anchor. Of formulas only those that read as text remain. */
    Search.htmlToText = (html, anchor, without = "") => {
        const page = new DOMParser().parseFromString(html, "text/html");
        const part = (anchor && page.getElementById(decodeURIComponent(anchor.slice(1)))) || page.querySelector("[role=main]");
        for (const other of part?.querySelectorAll(`.headerlink, .twin, script, style, svg${without}`) ?? []) other.remove();
        for (const formula of part?.querySelectorAll(".math") ?? []) {
            const source = formula.textContent.replace(/\\[()[\]]/g, "").trim();
            formula.textContent = /[\\{}&]/.test(source) ? "…" : source;
        }
        return part?.textContent.replace(/\s+/g, " ").trim() ?? "";
    };

    const length = 220;

    /* The stretch of the text that has most of the words, from the beginning of its sentence where that is near. */
    Search.makeSearchSummary = (html, words, anchor) => {
        const texts = [", pre, table", ""].map((without) => Search.htmlToText(html, anchor, without));  // sentences first
        const text = texts.find((each) => [...words].some((word) => each.toLowerCase().includes(word))) ?? texts[0];
        if (!text) return null;
        const lower = text.toLowerCase();
        const places = [...words].flatMap((word) => [...lower.matchAll(RegExp(_escapeRegExp(word), "g"))]
            .map((found) => [found.index, word]));
        let place = 0, most = 0;
        for (const [from] of places) {
            const held = new Set(places.filter(([at]) => at >= from && at < from + length / 2).map(([, word]) => word));
            if (held.size > most) [place, most] = [from, held.size];
        }
        const before = text.slice(Math.max(0, place - length / 2), place);
        const sentence = Math.max(...[". ", "? ", ": ", "。", "？", "！"].map((mark) => before.lastIndexOf(mark) + mark.length * before.includes(mark)));
        const start = place < length / 2 ? 0 : place - before.length + (sentence > 0 ? sentence : before.indexOf(" ") + 1);
        const all = start + length >= text.length;
        const shown = text.slice(start, start + length).replace(all || chinese ? "" : / \S*$/, "").trim();
        const summary = document.createElement("p");
        summary.className = "context";
        summary.textContent = (start ? "… " : "") + shown + (all ? "" : " …");
        return summary;
    };
}
