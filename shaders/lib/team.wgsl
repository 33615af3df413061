// How the kernels of the prologue share out a row: TEAM lanes hold it, CHUNKS quads each, and ROWS rows share a workgroup. What a lane must
// see of its neighbours, partners of a turn and blocks of codes, goes through workgroup memory.
#import prologue
#const LANES = 32u  // lanes over which sums are taken
#const TEAM = 32u   // lanes of a row
#const CHUNKS = 1u
#const ROWS = 4u
#const SUBGROUP = 4u
#const LANE_COUNT = 128u // TEAM · ROWS
const team_QUADS = TEAM * CHUNKS;
var<workgroup> team_tile: array<vec4<f32>, ROWS * team_QUADS>;
#slot reduce

// The first number of a lane's quad c.
fn team_i(lane: u32, c: u32) -> u32 {
    return (lane % TEAM + c * TEAM) * 4u;
}

// A row's numbers into workgroup memory, where the team sees them. All lanes call it.
fn team_show(lane: u32, v: array<vec4<f32>, CHUNKS>) {
    var numbers = v;
    workgroupBarrier(); // what was there has been read
    #unroll
    for (var c = 0u; c < CHUNKS; c++) { team_tile[lane / TEAM * team_QUADS + lane % TEAM + c * TEAM] = numbers[c]; }
    workgroupBarrier();
}

fn team_shown(lane: u32, i: u32) -> f32 {
    return team_tile[lane / TEAM * team_QUADS + (i >> 2u)][i & 3u];
}

// A row after its turn. All lanes call it.
fn team_turn(at: prologue_Row, lane: u32, v: array<vec4<f32>, CHUNKS>) -> array<vec4<f32>, CHUNKS> {
    var numbers = v;
    if (!INTERLEAVED) { team_show(lane, v); }
    if (!prologue_turns(at)) { return numbers; }
    let table = prologue_table(at);
    let half = prologue_params.half;
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = team_i(lane, c);
        if (i < 2u * half) {
            let own = numbers[c];
            if (INTERLEAVED) {
                let pairs = min(half - i / 2u, 2u);
                let cos = cosines_load4(prologue_params.cos0 + table + i / 2u, pairs);
                let sin = sines_load4(prologue_params.sin0 + table + i / 2u, pairs);
                let turned = own * cos.xxyy + own.yxwz * vec4<f32>(-sin.x, sin.x, -sin.y, sin.y);
                numbers[c] = select(own, turned, vec4<u32>(0u, 0u, 1u, 1u) < vec4<u32>(pairs));
            } else if ((half & 3u) == 0u) {
                // Quads turn with quads.
                let first = i < half;
                let other = team_tile[lane / TEAM * team_QUADS + (select(i - half, i + half, first) >> 2u)];
                let angle = table + select(i - half, i, first);
                let sin = sines_load4(prologue_params.sin0 + angle, 4u);
                numbers[c] = own * cosines_load4(prologue_params.cos0 + angle, 4u) + other * select(sin, -sin, first);
            } else {
                #unroll
                for (var j = 0u; j < 4u; j++) {
                    if (i + j < 2u * half) {
                        numbers[c][j] = prologue_turn1(own[j], team_shown(lane, prologue_partner(i + j)), i + j, table);
                    }
                }
            }
        }
    }
    return numbers;
}

// Stores a row. All lanes call it; only those of a `live` row store.
fn team_store(at: prologue_Row, lane: u32, live: bool, v: array<vec4<f32>, CHUNKS>) {
    var numbers = v;
    var home = prologue_ABSENT;
    if (at.kind != 0u && live) { home = prologue_home(at); }
    if (keys_CODED || values_CODED) {
        team_show(lane, v);
        if (live && prologue_codes(at)) {
            for (var block = lane % TEAM; block * 32u < at.width; block += TEAM) {
                let first = lane / TEAM * team_QUADS + block * 8u;
                prologue_store32(at, home, block, array<vec4<f32>, 8>(
                    team_tile[first], team_tile[first + 1u], team_tile[first + 2u], team_tile[first + 3u],
                    team_tile[first + 4u], team_tile[first + 5u], team_tile[first + 6u], team_tile[first + 7u]));
            }
        }
    }
    if (!live) { return; }
    #unroll
    for (var c = 0u; c < CHUNKS; c++) {
        let i = team_i(lane, c);
        prologue_store4(at, home, i, numbers[c], prologue_within(at, i));
    }
}

fn team_add(v: vec4<f32>) -> f32 {
    return (v.x + v.y) + (v.z + v.w);
}
