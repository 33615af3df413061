// Where kept tokens go.
#import select
#slot keep @binding(4)   // [samples, tokens]
#slot count @binding(5)  // [samples]
#slot index @binding(6)  // [samples, places]
#slot place @binding(7)  // [samples, tokens]

// Stores the place of a token, and the token at its place.
fn kept_put(sample: u32, i: u32, place: u32, kind: u32) {
    let at = sample * select_params.tokens + i;
    let row = sample * select_params.places + place;
    let kept = kind >= token_OTHER;
    place_put(select_params.place0 + at, select(kind, (row << 2u) | kind, kept));
    if (kept) { index_put(select_params.index0 + row, at); }
}
