/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Writes a picture as PNG (W3C REC-png-3) without compressing it, so that no library is needed: the
 * pixels are "stored" blocks of deflate (RFC 1951, 3.2.4) in a zlib stream (RFC 1950).
 */
#ifndef PNG_H
#define PNG_H

#include <stdint.h>
#include <stdio.h>

#define PNG_ADLER_BASE	65521u

/* Where the bytes go, and the checksums over them. */
struct png {
	FILE *file;
	uint32_t crc;		/* of the chunk */
	uint32_t a, b;		/* Adler-32 of the pixels, in its two halves */
};

static inline void png_bytes(struct png *png, const void *bytes, size_t n)
{
	const unsigned char *byte = bytes;
	static uint32_t table[256];

	if (!table[1])
		for (uint32_t i = 0; i < 256; i++) {
			table[i] = i;
			for (int bit = 0; bit < 8; bit++)
				table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
		}
	for (size_t i = 0; i < n; i++)
		png->crc = table[(png->crc ^ byte[i]) & 255] ^ png->crc >> 8;
	fwrite(bytes, 1, n, png->file);
}

/* PNG's numbers begin with the highest byte. */
static inline void png_number(struct png *png, uint32_t number)
{
	unsigned char bytes[4] = { number >> 24, number >> 16, number >> 8, number };

	png_bytes(png, bytes, sizeof(bytes));
}

static inline void png_chunk_start(struct png *png, const char type[4], uint32_t length)
{
	png_number(png, length);
	png->crc = ~0u;		/* of the type and what follows */
	png_bytes(png, type, 4);
}

static inline void png_chunk_end(struct png *png)
{
	png_number(png, ~png->crc);
}

/* Writes pixels or a filter type: they count in Adler-32. */
static inline void png_stored(struct png *png, const unsigned char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		png->a = (png->a + bytes[i]) % PNG_ADLER_BASE;
		png->b = (png->b + png->a) % PNG_ADLER_BASE;
	}
	png_bytes(png, bytes, n);
}

/* One line of the picture is one block of deflate: its length, that inverted, the bytes. */
static inline void png_line(struct png *png, const unsigned char *xrgb, uint32_t width, int last)
{
	uint32_t n = 1 + 3 * width;
	unsigned char head[5] = { last, n, n >> 8, ~n, ~n >> 8 };

	png_bytes(png, head, sizeof(head));
	png_stored(png, (const unsigned char *)"\0", 1);	/* filter: none */
	for (uint32_t x = 0; x < width; x++, xrgb += 4)
		png_stored(png, (unsigned char []){ xrgb[2], xrgb[1], xrgb[0] }, 3);
}

/* Writes a picture of XRGB8888 pixels with lines of @stride bytes; @width up to 21844. See ferror(). */
static inline void png_write(FILE *file, const unsigned char *xrgb, uint32_t width, uint32_t height,
			     uint32_t stride)
{
	struct png png = { .file = file, .a = 1 };

	png_bytes(&png, "\x89PNG\r\n\x1a\n", 8);
	png_chunk_start(&png, "IHDR", 13);
	png_number(&png, width);
	png_number(&png, height);
	png_bytes(&png, "\x08\x02\0\0\0", 5);		/* 8 bits, RGB, no interlace */
	png_chunk_end(&png);
	png_chunk_start(&png, "IDAT", 2 + height * (5 + 1 + 3 * width) + 4);
	png_bytes(&png, "\x78\x01", 2);			/* zlib, not compressed */
	for (uint32_t y = 0; y < height; y++)
		png_line(&png, xrgb + (size_t)y * stride, width, y == height - 1);
	png_number(&png, png.b << 16 | png.a);
	png_chunk_end(&png);
	png_chunk_start(&png, "IEND", 0);
	png_chunk_end(&png);
}

#endif /* PNG_H */
