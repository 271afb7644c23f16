from PIL import Image
from sheet import GAP, HEAD, SCALE, contact_sheet


def test_every_image_stands_in_its_row_and_column() -> None:
    colours = {"first": ["red", "green", "blue"], "second": ["black", "yellow", "cyan"]}
    rows = {name: [Image.new("RGB", (8, 8), colour) for colour in row] for name, row in colours.items()}

    sheet = contact_sheet(rows, ["a", "b", "c"])

    side = 8 * SCALE
    for row, names in enumerate(colours.values()):
        for column, colour in enumerate(names):
            x = GAP + column * (side + GAP) + side // 2
            y = HEAD + row * (HEAD + side + GAP) + HEAD + side // 2
            assert sheet.getpixel((x, y)) == Image.new("RGB", (1, 1), colour).getpixel((0, 0))
    assert sheet.size == (GAP + 3 * (side + GAP), HEAD + 2 * (HEAD + side + GAP))
