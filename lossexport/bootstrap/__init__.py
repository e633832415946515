"""Error bars: intervals of all numbers, by drawing the images again and again."""
