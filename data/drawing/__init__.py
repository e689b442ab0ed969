"""Draw the sample images: shaded things, scenes, butterflies, creatures and posters."""
