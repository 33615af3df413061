// What may become of a token: the two lowest bits of its place. Above them is its row among the kept ones, where it is kept.
const token_PADDING = 0u;
const token_SKIPPED = 1u;
const token_OTHER = 2u; // kept, as it is no target
const token_CHOSEN = 3u;
