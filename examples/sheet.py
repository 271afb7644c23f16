"""A contact sheet: one labelled row of images per schedule, one column per class."""

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

SCALE = 3  # small images are hard to judge
GAP = 6
HEAD = 26  # pixels for a line of text


def contact_sheet(rows: Mapping[str, Sequence[Image.Image]], columns: Sequence[str]) -> Image.Image:
    """`rows` maps a row's caption to its images, all of one size, in the order of `columns`."""
    width, height = (side * SCALE for side in next(iter(rows.values()))[0].size)
    size = (GAP + (width + GAP) * len(columns), HEAD + (HEAD + height + GAP) * len(rows))
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(14)
    for column, caption in enumerate(columns):
        centre = GAP + column * (width + GAP) + width / 2
        draw.text((centre, HEAD / 2), caption, fill="black", font=font, anchor="mm")
    for row, (caption, images) in enumerate(rows.items()):
        top = HEAD + row * (HEAD + height + GAP)
        draw.text((GAP, top + HEAD / 2), caption, fill="black", font=font, anchor="lm")
        for column, image in enumerate(images):
            enlarged = image.resize((width, height), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (GAP + column * (width + GAP), top + HEAD))
    return sheet
