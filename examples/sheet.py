"""A contact sheet: one labelled row of images per schedule, one column per class."""

from collections.abc import Mapping, Sequence
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

SCALE = 3  # small images are hard to judge
GAP = 6
HEAD = 26  # pixels for a line of text
_LINE = 16  # and for each further one
_LETTER = 7  # pixels of width, on average


def contact_sheet(rows: Mapping[str, Sequence[Image.Image]], columns: Sequence[str]) -> Image.Image:
    """`rows` maps a row's caption to its images, all of one size, in the order of `columns`."""
    width, height = (side * SCALE for side in next(iter(rows.values()))[0].size)
    wrapped = ["\n".join(wrap(caption, width // _LETTER)) for caption in columns]
    head = HEAD + _LINE * max(caption.count("\n") for caption in wrapped)
    size = (GAP + (width + GAP) * len(columns), head + (HEAD + height + GAP) * len(rows))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for column, caption in enumerate(wrapped):
        centre = GAP + column * (width + GAP) + width / 2
        draw.text((centre, head / 2), caption, fill="black", font=font, anchor="mm", align="center")
    for row, (caption, images) in enumerate(rows.items()):
        top = head + row * (HEAD + height + GAP)
        draw.text((GAP, top + HEAD / 2), caption, fill="black", font=font, anchor="lm")
        for column, image in enumerate(images):
            enlarged = image.resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (GAP + column * (width + GAP), top + HEAD))
    return sheet
