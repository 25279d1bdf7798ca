// SPDX-License-Identifier: GPL-2.0
/*
 * The blocks that are written to each layer of each volume, as they are mapped to it.
 *
 * device-mapper calls block_bio_remap when dm-linear, the head, hands a bio to the layer device
 * below: at map time, so that a bio held by a suspended head is counted to the layer that gets it
 * in the end. It is a raw tracepoint: an ordinary one is left out in silence on a CPU that is just
 * in another BPF program or in the bpf() system call. What is left out here is counted by the
 * kernel (recursion_misses of the program), or by us in the layer it belongs to.
 *
 * Given on the command line, from the running kernel's BTF: where the fields of struct bio lie and
 * which bits of bi_opf say what. The headers that have them take a minute to compile.
 */

#define SECTOR_SHIFT 9
#define BLOCK_SHIFT 12
#define BLOCK_SECTORS_SHIFT (BLOCK_SHIFT - SECTOR_SHIFT)
#define WORD_SHIFT 6 /* blocks in a word */
#define WORDS 8      /* words in a region */
#define WORDS_SHIFT 3
#define LONGEST_WORDS 65 /* of one bio: 16 MiB wherever they begin */
#define BUCKETS 16

#define OP_MASK 0xff
#define OP_WRITE 1
#define OP_WRITE_ZEROES 9

struct region_t {
	u64 words[WORDS];
};

struct layer_t {
	u64 id;
	u64 writes;
	u64 bytes;
	u64 zeroes;
	u64 discards;
	u64 flushes;
	u64 fua;
	u64 metadata;
	u64 full;     /* marks lost: no room in the map */
	u64 busy;     /* marks lost: the map was being changed on this very CPU */
	u64 too_long; /* marks lost: a bio longer than the loop */
	u64 unread;   /* events lost: the bio could not be read */
	u64 sizes[BUCKETS];
	u64 alignments[BUCKETS];
};

BPF_HASH(layers, u32, struct layer_t, LAYERS_AT_MOST);
BPF_HASH(regions, u64, struct region_t, REGIONS_AT_MOST);

#define COUNT(field, by) __sync_fetch_and_add(&(field), (by))
#define READ(to, from, offset) \
	bpf_probe_read_kernel(&(to), sizeof(to), (const char *)(from) + (offset))

/* Count a value other than 0 in the bucket of its power of two. */
static __always_inline void tally(u64 *buckets, u64 value)
{
	u64 bucket = bpf_log2l(value) - 1;

	/* The compiler must not move the bound to where the verifier does not see it. */
	asm volatile("" : "+r"(bucket));
	if (bucket >= BUCKETS)
		bucket = BUCKETS - 1;
	COUNT(buckets[bucket], 1);
}

static __always_inline struct region_t *region_of(struct layer_t *layer, u64 word)
{
	u64 key = (layer->id << 32) | (word >> WORDS_SHIFT);
	struct region_t *region = regions.lookup(&key);
	struct region_t blank = {};
	int error;

	if (region)
		return region;
	error = regions.insert(&key, &blank);
	region = regions.lookup(&key);
	if (!region) {
		if (error == -16)
			COUNT(layer->busy, 1);
		else
			COUNT(layer->full, 1);
	}
	return region;
}

/* Mark the blocks from first to last, both included. */
static __always_inline void mark(struct layer_t *layer, u64 first, u64 last)
{
	u64 low = first >> WORD_SHIFT, high = last >> WORD_SHIFT;

	if (high - low >= LONGEST_WORDS || high >> (32 + WORDS_SHIFT)) {
		COUNT(layer->too_long, 1);
		return;
	}
	for (int i = 0; i < LONGEST_WORDS; i++) {
		u64 word = low + i, mask = ~0ULL;
		struct region_t *region;

		if (word > high)
			break;
		if (word == low)
			mask &= ~0ULL << (first & 63);
		if (word == high)
			mask &= ~0ULL >> (63 - (last & 63));
		region = region_of(layer, word);
		if (region)
			__sync_fetch_and_or(&region->words[word & (WORDS - 1)], mask);
	}
}

static __always_inline void count(struct layer_t *layer, u32 opf, u64 sector, u32 bytes)
{
	u8 op = opf & OP_MASK;

	COUNT(layer->writes, 1);
	COUNT(layer->bytes, bytes);
	tally(layer->sizes, bytes >> SECTOR_SHIFT);
	tally(layer->alignments, sector ? sector & -sector : 1 << (BUCKETS - 1));
	if (op == OP_WRITE_ZEROES)
		COUNT(layer->zeroes, 1);
	else if (op != OP_WRITE)
		COUNT(layer->discards, 1);
}

int on_remap(struct bpf_raw_tracepoint_args *ctx)
{
	const void *bio = (const void *)ctx->args[0];
	const void *bdev = 0;
	struct layer_t *layer;
	u32 opf = 0, dev = 0, bytes = 0;
	u64 sector = 0;

	READ(opf, bio, BIO_OPF);
	if (!(opf & 1)) /* what changes a device is odd */
		return 0;
	READ(bdev, bio, BIO_BDEV);
	READ(dev, bdev, BDEV_DEV);
	layer = layers.lookup(&dev);
	if (!layer)
		return 0;
	if (READ(sector, bio, BIO_SECTOR) || READ(bytes, bio, BIO_BYTES)) {
		COUNT(layer->unread, 1);
		return 0;
	}
	if (opf & OPF_PREFLUSH)
		COUNT(layer->flushes, 1);
	if (!bytes)
		return 0;
	if (opf & OPF_FUA)
		COUNT(layer->fua, 1);
	if (opf & OPF_META)
		COUNT(layer->metadata, 1);
	count(layer, opf, sector, bytes);
	mark(layer, sector >> BLOCK_SECTORS_SHIFT,
	     (sector + (bytes >> SECTOR_SHIFT) - 1) >> BLOCK_SECTORS_SHIFT);
	return 0;
}
