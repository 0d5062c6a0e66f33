"""Translation by tiles that is exact: an image of any size, in the memory there is.

`local` sees a network as operations that look at neighbours only, and norms that look at the whole image; `plan` cuts
them into passes over the image and says what is kept between passes; `stored` keeps it; `run` does it.
"""
