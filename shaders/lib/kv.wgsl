// Rows of keys or values as a cache stores them, and where the row of a token is. src/kv.rs has the layout and the Rust twins.
#import half

// Where the sections of rows lie in their buffer.
struct kv_At {
    first: u32,  // numbers: the element at which row 0 begins; codes: the word, a multiple of 4
    width: u32,  // numbers in a row
    scales: u32, // the word from which scales are: two f16 a word, whole words a row
    scale: f32,  // e4m3: what all codes are multiplied by
}

// Blocks of 32 in a row.
fn kv_blocks(at: kv_At) -> u32 {
    return (at.width + 31u) / 32u;
}

// Where the row of a token is.
struct kv_Place {
    batch_rows: u32, // rows from one element of the batch to the next; where there are pages, from one page to the next
    head_rows: u32,  // from one head to the next
    token_rows: u32, // from one token to the next
    page: u32,       // tokens of a page; 2^32 - 1 where there are no pages
    pages: u32,      // entries of a block table for one element of the batch; 0 where there are no pages
    table: u32,      // the word at which the block tables begin
    room: u32,       // tokens of one element of the batch at most
    held: u32,       // pages that there are, or elements of the batch
}

// The block of number i of a row, or the last one.
fn kv_block_of(at: kv_At, i: u32) -> u32 {
    return min(i / 32u, kv_blocks(at) - 1u);
}

// Numbers i … i + 3 of a row, of which those past it may be anything: they are 0.
fn kv_inside4(at: kv_At, v: vec4<f32>, i: u32) -> vec4<f32> {
    return select(vec4<f32>(), v, i < at.width);
}

// The word that has the scale of a block, in its low half where the block's number is even.
fn kv_scale(at: kv_At, row: u32, block: u32) -> u32 {
    return at.scales + row * ((kv_blocks(at) + 1u) / 2u) + block / 2u;
}

// The scale of a block in its word.
fn kv_decode_scale(word: u32, block: u32) -> f32 {
    return half_f32_from_f16(word >> ((block & 1u) * 16u));
}

// The row of token j, which is in element b of the batch, or on page `b`.
fn kv_row(at: kv_Place, b: u32, g: u32, j: u32) -> u32 {
    return b * at.batch_rows + g * at.head_rows + j % at.page * at.token_rows;
}
