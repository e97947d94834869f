"""Each page in its language: docs/zh/X.md is docs/X.md in Chinese, with words, menu and search page of its own.

Pages in both languages link to each other, section by section: the same section has the same id in both. A link from
a Chinese page to one that stands in English alone says so.
"""

import json
import posixpath
import re
from pathlib import Path

from docutils import nodes
from docutils.core import publish_doctree
from myst_parser.parsers.docutils_ import Parser
from sphinx import addnodes
from sphinx.environment.adapters.toctree import TocTree
from sphinx.transforms import SphinxTransform

ENGLISH = {"code": "en", "name": "English", "home": "index", "search": "search"}
CHINESE = {"code": "zh-CN", "name": "中文", "home": "zh/index", "search": "search-zh"}
WORDS = {  # of the theme, in Chinese
    "Back to top": "回到顶部",
    "Close": "关闭",
    "Contents": "目录",
    "Error": "错误",
    "Find": "查找",
    "Home": "首页",
    "Index": "索引",
    "MIT licence": "MIT 许可证",
    "Download all of minires (ZIP)": "下载整个 minires（ZIP）",
    "Made with ": "页面主题：",
    "Next": "下一页",
    "On this page": "本页内容",
    "Please activate JavaScript to enable the search functionality.": "请启用 JavaScript 以使用搜索功能。",
    "Pages": "页面",
    "Previous": "上一页",
    "Search": "搜索",
    "Source of this page": "本页源文件",
    "Skip to content": "跳到正文",
}
FOUND = "找到 ${resultCount} 页。"
SEARCHING = {  # of Sphinx's scripts
    "Hide Search Matches": "不再标出搜索的词",
    "Searching": "正在搜索",
    "Preparing search...": "准备搜索……",
    "Search Results": "搜索结果",
    "Search finished, found one page matching the search query.": [FOUND, FOUND],
    "Your search did not match any documents. Please make sure that all words are spelled correctly and that you've "
    "selected enough categories.": "没有找到匹配的页面。请检查用词，或者换一个词。",
}
FIXED = {  # in the theme's templates, which look these up nowhere
    'aria-label="Toggle Light / Dark / Auto color theme"': 'aria-label="切换浅色、深色或自动主题"',
    'aria-label="Toggle site navigation sidebar"': 'aria-label="打开或关闭网站菜单"',
    'aria-label="Toggle table of contents sidebar"': 'aria-label="打开或关闭本页目录"',
    'aria-label="Toggle navigation of ': 'aria-label="展开或收起：',
    'title="Link to this heading"': 'title="本节的链接"',
    "<title>Contents</title>": "<title>目录</title>",
    "<title>Menu</title>": "<title>菜单</title>",
    "<title>Expand</title>": "<title>展开</title>",
    "<title>Light mode</title>": "<title>浅色</title>",
    "<title>Dark mode</title>": "<title>深色</title>",
    "<title>Auto light/dark, in light mode</title>": "<title>自动，当前为浅色</title>",
    "<title>Auto light/dark, in dark mode</title>": "<title>自动，当前为深色</title>",
}
NAMED = {  # the theme's parts: a heading's level, what a landmark is called
    'class="caption" role="heading"': 'class="caption" role="heading" aria-level="2"',
    '<aside class="sidebar-drawer"': '<aside class="sidebar-drawer" aria-label="{Pages}"',
    '<aside class="toc-drawer': '<aside aria-label="{On this page}" class="toc-drawer',
}
EMPTY_HEAD = re.compile(r"<th( class=[^>]*)>(?:<p></p>)?</th>")  # a cell that heads no column
SIGNATURE = re.compile(r'<dt class="sig .*?</dt>', re.DOTALL)  # one of several lines holds a list of no terms
LINES = {"<dl>": '<span class="sig-lines">', "</dl>": "</span>", "<dd>": '<span class="sig-line">', "</dd>": "</span>"}


def language_of(page):
    return CHINESE if page.startswith("zh/") or page == CHINESE["search"] else ENGLISH


def twin_of(env, page):
    """The same page in the other language, or None."""
    here = language_of(page)
    other = ENGLISH if here is CHINESE else CHINESE
    if page == here["search"]:
        return other["search"]
    twin = page.removeprefix("zh/") if here is CHINESE else f"zh/{page}"
    return twin if twin in env.found_docs else None


BLOCK = re.compile(r"^(`{3,}).*?^\1$", re.M | re.S)
HEADING = re.compile(r"^#+ .+", re.M)


def section_ids(markdown):
    """The ids of a page's sections, in order: those that the headings have on a page of their own."""
    headings = "\n\n".join(HEADING.findall(BLOCK.sub("", markdown)))
    settings = {"myst_enable_extensions": ["dollarmath"], "doctitle_xform": False}
    page = publish_doctree(headings, parser=Parser(), settings_overrides=settings)
    return [section["ids"][0] for section in page.findall(nodes.section)]


class SameSections(SphinxTransform):
    """A section of a Chinese page has the id of its English twin; from Chinese characters docutils makes id1, id2."""

    default_priority = 200  # before any link is resolved

    def apply(self):
        page = self.env.docname
        twin = twin_of(self.env, page)
        if not twin or language_of(page) is not CHINESE:
            return
        self.env.note_dependency(self.env.doc2path(twin))
        sections = list(self.document.findall(nodes.section))
        ids = section_ids(Path(self.env.doc2path(twin)).read_text(encoding="utf-8"))
        if len(ids) != len(sections):  # a page of its own
            return
        english = {section["ids"][0]: there for section, there in zip(sections, ids, strict=True)}
        for section in sections:
            section["ids"][0] = english[section["ids"][0]]
            self.document.ids[section["ids"][0]] = section
            self.document.nameids.update(dict.fromkeys(section["names"], section["ids"][0]))
        for slug, (line, own, text) in self.document.myst_slugs.items():
            self.document.myst_slugs[slug] = (line, english[own], text)


def menu(app, page, home):
    """The pages of one language as nested lists; the first page of the other language is in its own menu only."""
    if home not in app.menus:
        trees = [node for node in app.env.get_doctree(home).findall(addnodes.toctree)]
        app.menus[home] = [node for node in trees if CHINESE["home"] not in node["includefiles"]]
    place = (home, posixpath.dirname(page))
    if page not in app.env.found_docs and place in app.rendered:  # a page of source, which is in no menu
        return app.rendered[place]
    options = {"prune": False, "maxdepth": -1, "titles_only": True, "includehidden": True}
    parts = [TocTree(app.env).resolve(page, app.builder, node, **options) for node in app.menus[home]]
    html = "".join(app.builder.render_partial(part)["fragment"] for part in parts if part is not None)
    if page not in app.env.found_docs:
        app.rendered[place] = html
    return html


def mended(html, words):
    """What a screen reader needs to know and the theme's templates do not say."""
    for bare, named in NAMED.items():
        html = html.replace(bare, named.format_map(words))
    html = EMPTY_HEAD.sub(r"<td\1></td>", html)
    return SIGNATURE.sub(lambda found: re.sub("</?d[ld]>", lambda tag: LINES[tag[0]], found[0]), html)


def translated(html):
    """The theme's own words in a page, those that its templates look up nowhere."""
    for words, chinese in FIXED.items():
        html = html.replace(words, chinese)
    return html


def in_its_language(app, page, template, context, doctree):
    """What the templates are told about a page, before the theme looks at it."""
    language, twin, pathto = language_of(page), twin_of(app.env, page), context["pathto"]
    context["language"] = language["code"]
    context["master_doc"] = context["root_doc"] = language["home"]
    context["toctree"] = lambda **options: menu(app, page, language["home"])
    for side, neighbour in zip(("prev", "next"), app.builder.relations.get(page, [None] * 3)[1:], strict=True):
        if neighbour and language_of(neighbour) is not language:
            context[side] = None
    if twin:
        other = language_of(twin)
        context["twin"] = {"link": pathto(twin), "code": other["code"], "name": other["name"]}
        app.add_js_file("twin.js", loading_method="defer")
    if language is CHINESE:
        app.add_js_file(None, body=f"Object.assign(Documentation.TRANSLATIONS, {json.dumps(SEARCHING)});")
        context["pathto"] = lambda to, *more, **options: pathto(
            CHINESE["search"] if to == "search" else to, *more, **options
        )
        context["gettext"] = lambda words: WORDS.get(words, words)
    words = WORDS if language is CHINESE else {word: word for word in WORDS}
    context["in_its_words"] = lambda html: mended(translated(html) if language is CHINESE else html, words)


def mark_links_to_english(app, doctree, page):
    """A link of a Chinese page to one that stands in English alone is followed by （英文）."""
    if language_of(page) is not CHINESE:
        return
    for link in list(doctree.findall(nodes.reference)):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page), link.get("refuri", "").partition("#")[0]))
        target = target.removesuffix(".html")
        after = link.next_node(descend=False, siblings=True)
        said = "英文" in link.astext() or (after is not None and after.astext().startswith("（英文"))
        if link.get("internal") and target in app.env.found_docs and language_of(target) is ENGLISH and not said:
            if isinstance(after, nodes.Text) and after.startswith(" "):  # no space beside a full-width mark
                after.parent.replace(after, nodes.Text(after[1:]))
            link.parent.insert(link.parent.index(link) + 1, nodes.inline("", "（英文）", classes=["in-english"]))


def search_page(app):
    """The Chinese search page, beside the English one: results are links from the site's root."""
    yield CHINESE["search"], {"title": WORDS["Search"]}, "search.html"


def start(app):
    app.menus, app.rendered = {}, {}  # rendered: (first page, folder): the menu of any page there that is in none


def setup(app):
    app.add_transform(SameSections)
    app.connect("builder-inited", start)
    app.connect("doctree-resolved", mark_links_to_english)
    app.connect("html-page-context", in_its_language, priority=400)
    app.connect("html-collect-pages", search_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
