"""The pages in docs/zh say what the English pages say: the same code, headings of the same levels, the same formulas.

docs/zh/X.md is the translation of docs/X.md; the start page, docs/zh/index.md, is a page of its own. Below stand the
terms and the typography that all of them keep.
"""

import re
from collections import Counter
from pathlib import Path

import pytest
from test_docs import FENCE, MATH, ROOT, name

CHINESE = ROOT / "docs" / "zh"
PAGES = sorted(page for page in CHINESE.rglob("*.md") if page != CHINESE / "index.md")
INCLUDE = re.compile(r"^\{literalinclude\} (\S+)")
HEADING = re.compile(r"^(#+) ", re.M)


def english(page):
    return ROOT / "docs" / page.relative_to(CHINESE)


def fences(page, text):
    """Every fenced block of a page, with the file that it includes in place of the path from the page's folder."""
    found = []
    for match in FENCE.finditer(text):
        first, rest = match[0].split("\n", 1)
        included = INCLUDE.match(first[3:])
        found.append(((page.parent / included[1]).resolve() if included else first, rest))
    return found


def levels(text):
    return [len(marks) for marks in HEADING.findall(FENCE.sub("", text))]


def formulas(text):
    """How often each formula stands on a page, but for its words; in which order is a matter of the language."""
    text = re.sub(r"`[^`\n]+`", "", FENCE.sub("", text))
    found = (re.sub(r"\\text\{[^{}]*\}", "", display or inline) for display, inline in MATH.findall(text))
    return Counter("".join(formula.split()) for formula in found)


def check(page, text, english_page, english_text):
    assert fences(page, text) == fences(english_page, english_text), f"{name(page)}: other blocks"
    assert levels(text) == levels(english_text), f"{name(page)}: other headings"
    there, here = formulas(english_text), formulas(text)
    assert there == here, f"{name(page)}: formulas missing {there - here}, too many {here - there}"


def test_there_are_pages():
    assert PAGES


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_translation(page):
    assert english(page).exists(), f"{name(page)}: no {name(english(page))}"
    text, english_text = (one.read_text(encoding="utf-8") for one in (page, english(page)))
    check(page, text, english(page), english_text)
    assert re.search(r"[\u4e00-\u9fff]", text), f"{name(page)}: not in Chinese"


@pytest.mark.parametrize("page", [*PAGES, CHINESE / "index.md"], ids=name)
def test_links_lead_to_the_chinese_page_where_there_is_one(page):
    """And none of these is called English. zh/index.md alone leads to the English start page."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    wrong = []
    for target, after in re.findall(r"\]\(([^)\s#]+\.md)[^)\s]*\)(.{0,4})", text):
        file = (page.parent / target).resolve()
        if file.is_relative_to(CHINESE):
            wrong += [f"{target}{after}"] if "英文" in after else []
        elif file.is_relative_to(CHINESE.parent) and (CHINESE / file.relative_to(CHINESE.parent)).exists():
            wrong += [target] if file.stem != "index" else []
    assert not wrong, f"{name(page)}: {wrong}"


def test_the_test_itself():
    page, other = CHINESE / "a.md", ROOT / "docs" / "a.md"
    text = "# A\n\n$x$ `$not$`\n\n```python\nx = 1\n# not a heading\n```\n\n"
    included = "```{literalinclude} %sminires/textbook.py\n:pyobject: relu\n```\n"
    check(page, text + included % "../../", other, text + included % "../")
    for wrong in (("x = 1", "x = 2"), ("# A", "## A"), ("$x$", "$y$"), ("relu", "tanh")):
        with pytest.raises(AssertionError, match=r"zh/a\.md: "):
            check(page, (text + included % "../../").replace(*wrong), other, text + included % "../")
    assert formulas(r"$x \text{ or } y$") == formulas(r"$x \text{，即 } y$") != formulas("$y x$")
    assert Path("docs/corrections.md") == english(CHINESE / "corrections.md").relative_to(ROOT)


# Terms and typography -----------------------------------------------------------------------------------------------

ALL = [*PAGES, CHINESE / "index.md"]
TERMS = {  # what a page says, and what it should say; the glossary names other translations where it says 也
    "推理模式": "评估模式",
    "推断模式": "评估模式",
    "瞎猜": "随机猜测",
    "画框": "边框",
    "Jacobi 矩阵": "雅可比矩阵",
    "雅各比": "雅可比",
    "Kronecker 积": "克罗内克积",
    "正向模式": "前向模式",
    "正向计算": "前向计算",
    "正向传播": "前向计算",
    "循环网络": "循环神经网络",
    "批大小": "批次大小",
    "批量大小": "批次大小",
    "批量归一化": "批归一化",
    "批量规范化": "批归一化",
    "批标准化": "批归一化",
    "快捷连接": "捷径连接",
    "跳跃连接": "捷径连接",
    "跳连": "捷径连接",
    "残差连接": "捷径连接",
    "正确率": "准确率",
    "准确度": "准确率",
    "学习速率": "学习率",
    "过度拟合": "过拟合",
    "补零通道": "全零的通道",
    "步长（stride": "步幅（stride",
    "偏差（bias": "偏置（bias",
    "每一位都相同": "逐位相同",
    "每个比特都相同": "逐位相同",
    "引发异常": "抛出异常",
    "引发错误": "抛出错误",
    "更新的版本": "更高版本",
    "移动统计量": "滑动统计量",
    "运行统计量": "滑动统计量",
    "骨干": "主干",
    "配方": "方案",
    "批量": "批次",
    "随机数发生器": "随机数生成器",
    "梯度检验": "梯度检查",
    "没有表明什么": "局限",
    "[协议](": "[约定](",
    "实验页": "实验",
}
HAN, FULL = "\u4e00-\u9fff", "\u2018-\u201d\u2026\u3001-\u3011\uff01-\uff5e"
RULES = {
    "a half-width space between Han and Latin": re.compile(rf"[{HAN}][A-Za-z0-9$`]|[A-Za-z0-9$`%][{HAN}]"),
    "no space beside a full-width mark": re.compile(rf"[{FULL}] +[^\s|]|[^\s|] +[{FULL}]"),
    "no space between Han and Han": re.compile(rf"[{HAN}] +[{HAN}]"),
    "no space before %": re.compile(r"[\d`$] +%"),
    "% at both ends of a range": re.compile(r"\d ?(?:到|至|～|、) ?\d+(?:\.\d+)?%"),
    "curly quotation marks": re.compile(r'"'),
    "full-width marks beside Han": re.compile(rf"[{HAN}][,:;?!(]|[,:;?!)][{HAN}]"),
    "、 between pieces of code": re.compile("`, `"),
    "no emphasis within a line ends with a mark: put the mark behind the star": re.compile(r"[。：，；？！]\*+ *[^* ]"),
}


def prose(text):
    """The lines of a page, each with its number; formulas become $$, code ``, and links their words."""
    text = FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text)
    text = re.sub(r"`[^`\n]+`", "``", text)
    text = MATH.sub(lambda formula: "$$" + "\n" * formula[0].count("\n"), text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)\s]*\)", r"\1", text)
    return [(number, line.lstrip("- ")) for number, line in enumerate(text.split("\n"), 1)]


def without_stars(line):
    """Emphasis as its words, but where it ends with a mark."""
    return re.sub(r"(\*{1,2})([^*]*[^*。：，；？！])\1", r"\2", line)


def against_the_rules(text):
    """A line for each place; what has no Han character is a reference or a quotation, and keeps its own marks."""
    return [
        f"line {number}: {rule}: {found[0]}"
        for number, line in prose(text)
        if re.search(f"[{HAN}]", line)
        for rule, pattern in RULES.items()
        if (found := pattern.search(without_stars(line)))
    ]


@pytest.mark.parametrize("page", ALL, ids=name)
def test_terms(page):
    text = page.read_text(encoding="utf-8")
    if page.stem == "glossary":
        text = re.sub("也[^。]*。", "", text)
    found = [f"{wrong}: {right}" for wrong, right in TERMS.items() if wrong in text]
    assert not found, f"{name(page)}: {found}"


@pytest.mark.parametrize("page", ALL, ids=name)
def test_typography(page):
    found = against_the_rules(page.read_text(encoding="utf-8"))
    assert not found, "\n".join([name(page), *found])


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ("用ReLU 的层", "a half-width space between Han and Latin"),
        ("**用**`x` 的层", "a half-width space between Han and Latin"),
        ("10 % 的图像", "no space before %"),
        ("从 10 到 20% 的图像", "% at both ends of a range"),
        ("前进。 后退", "no space beside a full-width mark"),
        ("所谓 “残差”", "no space beside a full-width mark"),
        ("残 差", "no space between Han and Han"),
        ('所谓"残差"', "curly quotation marks"),
        ("卷积,池化", "full-width marks beside Han"),
        ("有 `x`, `y`", "、 between pieces of code"),
        ("**想法。** 只用", "put the mark behind the star"),
    ],
)
def test_each_rule_finds_what_it_forbids(wrong, rule):
    assert not against_the_rules("**想法**。“残差”为 [ReLU](a.md) 的 10%，$x$ 或 `a, b`（*一*）：10%～20%。\n")
    assert any(rule in found for found in against_the_rules(wrong))


# A star between a full-width mark and a letter ends no emphasis (CommonMark, section 6.2): it would be printed.
UNSEEN = re.compile(r"(?<![*\w])(\*\*|\*)(?=[^\s*])[^*\n]*?[。：，；、）]\1(?=\w)")


@pytest.mark.parametrize("page", ALL, ids=name)
def test_emphasis_ends_where_it_is_seen_to(page):
    assert UNSEEN.search("*想法：*只用") and not UNSEEN.search("*想法*：只用 **一。** 二*三*四")
    found = [match[0] for match in UNSEEN.finditer(FENCE.sub("", page.read_text(encoding="utf-8")))]
    assert not found, f"{name(page)}: put the mark behind the star: {found}"


# Pictures -----------------------------------------------------------------------------------------------------------

PICTURE = re.compile(r"^!\[[^\]]*\]\((?:\.\./)+images/(\S+)\)\n(?:!\[.*\n)*\n(.*(?:\n.+)*)", re.M)
WITHOUT_ENGLISH = re.compile(  # drawn in Chinese; or nothing but names; or the caption of the first of them says it
    r"drawings/|figures/|\S+-zh\.png|networks/(?!famil|vgg)|pictures/(?:im2col|filters|maps|saliency|grad_cam)"
)


def unexplained(text):
    """The pictures with English words that no caption follows: a paragraph of emphasis, and what stands behind it."""
    return [name for name, below in PICTURE.findall(text) if not (WITHOUT_ENGLISH.match(name) or below[0] == "*")]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_english_words_of_a_picture_are_explained_below_it(page):
    found = unexplained(page.read_text(encoding="utf-8") + "\n")
    assert not found, f"{name(page)}: say below what the words in {found} mean"
    assert unexplained("![曲线](../images/a.png)\n\n然后。\n") == ["a.png"]
    assert not unexplained("![曲线](../images/a.png)\n\n*图中文字：step 步*。\n")
