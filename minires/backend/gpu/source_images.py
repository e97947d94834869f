"""The kernels of images other than patches, in what source.py says kernels are written in."""

# The largest pixel of each window, NaN being larger than all numbers, and its place in the window: the first of equals.
MAX_POOL = """
KERNEL max_pool(const Number *x, Number *y, Place *places, Index n) {
    FOR_EACH_INDEX(at, n) {
        const int c = at % C, top = at / (C * OW) % OH * SH - TOP, left = at / C % OW * SW - LEFT;
        const Index image = at / (C * OW) / OH;
        T largest = -INFINITY;
        int place = -1;
        for (int i = 0; i < KH; i++) {
            if (top + i < 0 || top + i >= H) continue;
            for (int j = 0; j < KW; j++) {
                if (left + j < 0 || left + j >= W) continue;
                const T pixel = x[((image * H + top + i) * W + left + j) * C + c];
                if (place < 0 || pixel > largest || (pixel != pixel && largest == largest)) {
                    largest = pixel;
                    place = i * KW + j;
                }
            }
        }
        y[at] = largest;
        places[at] = place;
    }
}
"""

# Every pixel gathers from the windows that it is in, in the order of its places in them, where it was the largest.
MAX_POOL_GRADIENT = """
KERNEL max_pool_gradient(const Place *places, const Number *dy, Number *dx, Index n) {
    FOR_EACH_INDEX(at, n) {
        const int c = at % C, w = at / C % W, h = at / (C * W) % H;
        const Index image = at / (C * W) / H;
        T sum = 0;
        for (int i = 0; i < KH; i++) {
            const int y = h + TOP - i;
            if (y < 0 || y % SH || y / SH >= OH) continue;
            for (int j = 0; j < KW; j++) {
                const int x = w + LEFT - j;
                if (x < 0 || x % SW || x / SW >= OW) continue;
                const Index window = ((image * OH + y / SH) * OW + x / SW) * C + c;
                if (places[window] == i * KW + j) sum += dy[window];
            }
        }
        dx[at] = sum;
    }
}
"""

# Every pixel comes from elsewhere in its image, or is 0 where that is outside.
MOVE = """
KERNEL move_pixels({parameters}, Pixel *y, Index n, int height, int width, int channels, int padding) {{
    FOR_EACH_INDEX(at, n) {{
        const int c = at % channels, j = at / channels % width;
        const Index row = at / channels / width, image = row / height;
        const long long h = row % height + {down}, w = {column} + {right};
        const bool inside = h >= 0 && h < height && w >= 0 && w < width;
        y[at] = inside ? x[((image * height + h) * width + w) * channels + c] : (Pixel)0;
    }}
}}
"""

# x * scale + shift, x (rows, columns) of bytes or numbers, scale and shift (columns,)
NORMALIZE = """
KERNEL normalize(const Pixel *x, const float *scale, const float *shift, float *y, Index n, int columns) {
    FOR_EACH_INDEX(i, n) y[i] = (float)x[i] * scale[i % columns] + shift[i % columns];
}
"""

# Every SH-th and SW-th pixel, between channels of zeros: y (N, OH, OW, O) from x (N, H, W, C).
KEEP = """
KERNEL keep_pixels(const Pixel *x, Pixel *y, Index n) {
    FOR_EACH_INDEX(at, n) {
        const int c = at % O - BEFORE;
        const Index row = at / O / OW, pixel = (row / OH * H + row % OH * SH) * W + at / O % OW * SW;
        y[at] = c >= 0 && c < C ? x[pixel * C + c] : (Pixel)0;
    }
}
"""

# The adjoint: dx from dy, 0 for pixels that were not kept.
SPREAD = """
KERNEL spread_pixels(const Pixel *dy, Pixel *dx, Index n) {
    FOR_EACH_INDEX(at, n) {
        const Index row = at / C / W;
        const int h = row % H, w = at / C % W;
        const Index pixel = (row / H * OH + h / SH) * OW + w / SW;
        dx[at] = h % SH == 0 && w % SW == 0 ? dy[pixel * O + BEFORE + at % C] : (Pixel)0;
    }
}
"""
