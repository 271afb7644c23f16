"""One hue for each schedule in all figures."""

from diffes.pages.style import BLUE, GREEN, INK, VERMILION

SEARCHED, UNIFORM, KNAPSACK, DENSE = BLUE, VERMILION, GREEN, INK
