"""What `minires.pretrained.identify` says, in Chinese. What stands in a file, and notes on it, stay as they are."""

import re

from minires.pretrained.readings import ASSUMED

FIELDS = {
    "model": "网络",
    "classes": "类别",
    "source": "来源",
    "preprocessing": "预处理",
    "assumed": "假定",
    "note": "说明",
}
SENTENCES = {
    "maxpool": "3x3 的开头几层之后没有最大池化（变体 max-pool：有）",
    "stem": "开头的几层是三个卷积，步幅为 2，之后有最大池化（变体 small-input：步幅为 1，没有最大池化）",
    "stride": "瓶颈块的步幅在它的 3x3 卷积处（变体 v1：在第一个卷积处）",
    "padding": "捷径连接 A 的全零通道一半在前、一半在后（变体 pad-end：全部在后）",
    "eps": "批归一化的 eps 为 {eps}（变体 eps=NUMBER：另一个值）",
    "classes": "各类别的次序",
}
PHRASES = {  # of single lines: a pattern, and what takes its place
    "model": [
        (r", variant ", "，变体 "),
        (r", shortcut (\S+?)(?=,|$)", r"，捷径连接 \1"),
        (r", ([\d,]+) parameters$", r"，\1 个参数"),
    ],
    "classes": [(r"^([\d,]+) classes", r"\1 个类别"), (r"^no head$", "没有头部"), (r": ", "：")],
    "preprocessing": [
        (r" cut out after scaling to (\d+), ", r"：缩放到 \1 后裁剪，"),
        (r" scaled to it, ", "：缩放到此大小，"),
        (r"bilinear, ", "双线性，"),
        (r"bicubic, ", "双三次，"),
        (r"(RGB|BGR), mean (\([^)]*\)), std (\([^)]*\))", r"\1，均值 \2，标准差 \3"),
        (r"; assumed, the file does not say$", "；都是假定，文件没有说明"),
        (r"; assumed: (.+)$", r"；其中假定的是 \1"),
    ],
}


def in_chinese(text):
    """`identify`'s lines, each "what it is  what is said of it"."""
    return "\n".join(_line(*re.fullmatch(r"(\w+) +(.*)", line).groups()) for line in text.split("\n"))


def _line(field, said):
    for pattern, instead in PHRASES.get(field, ()):
        said = re.sub(pattern, instead, said, count=1)
    if field == "assumed":
        said = next(filter(None, (_sentence(name, said) for name in ASSUMED)), said)
    label = FIELDS.get(field, field)
    return f"{label}{'　' * (4 - len(label))}{said}"


def _sentence(name, said):
    found = re.fullmatch(re.escape(ASSUMED[name]).replace(r"\{eps\}", "(?P<eps>.+)"), said)
    return found and SENTENCES[name].format(**found.groupdict())
