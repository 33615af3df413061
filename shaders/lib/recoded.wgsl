// Codes where their numbers were: a tile has addresses, which a loop that is not written out wants.
#import encode
#import block

// Puts the codes of quad i of a lane there.
fn recoded_put4(lane: u32, i: u32, codes: vec4<u32>) {
    encode_tile[lane * encode_TILE_QUADS + i].x = block_quad(codes);
}

// Stores all that a lane has put there.
fn recoded_store32(at: weight_At, place: encode_Place, lane: u32) {
    var codes: array<u32, 8>;
    #unroll
    for (var i = 0u; i < 8u; i++) { codes[i] = encode_tile[lane * encode_TILE_QUADS + i].x; }
    into_store_codes32(at, place.row - at.row0, place.block, codes);
}
