// The delta of LoHa: scale·(Σ_r a1[n,r]·b1[r,k])·(Σ_r a2[n,r]·b2[r,k]).
//
// As slot/delta/lora, for both products at a time: 4 ranks of each lie in workgroup memory.
// Barriers: 2 for 4 ranks. Workgroup memory: 8 KiB, and 32 bytes a row. Registers: twice those of slot/delta/lora.
#slot slot_a1 @binding(0) // [N, R]
#slot slot_b1 @binding(1) // [R, K]
#slot slot_a2 @binding(2) // [N, R]
#slot slot_b2 @binding(3) // [R, K]
const slot_RANKS = 4u;
var<workgroup> slot_tile_b1: array<vec4<f32>, slot_RANKS * 64u>;
var<workgroup> slot_tile_b2: array<vec4<f32>, slot_RANKS * 64u>;
var<workgroup> slot_tile_a: array<vec2<f32>, slot_RANKS * adapter_ROWS>;

fn slot_tile(n: u32, block0: u32, lane: u32) -> array<vec4<f32>, LANE_ROWS * 8u> {
    var first: array<vec4<f32>, LANE_ROWS * 8u>;
    var second: array<vec4<f32>, LANE_ROWS * 8u>;
    let t = lane % 8u;
    for (var r0 = 0u; r0 < adapter_params.rank; r0 += slot_RANKS) {
        for (var v = lane; v < slot_RANKS * 64u; v += LANE_COUNT) {
            let r = r0 + v / 64u;
            let k = block0 * 32u + v % 64u * 4u;
            var b1 = vec4<f32>();
            var b2 = vec4<f32>();
            if (r < adapter_params.rank && k < adapter_params.k) {
                let at = r * adapter_params.k + k;
                let count = min(adapter_params.k - k, 4u);
                b1 = slot_b1_load4(adapter_params.b0 + at, count);
                b2 = slot_b2_load4(adapter_params.d0 + at, count);
            }
            let place = v / 8u * 8u + ((v + v / 8u) & 7u);
            slot_tile_b1[place] = b1;
            slot_tile_b2[place] = b2;
        }
        for (var v = lane; v < slot_RANKS * adapter_ROWS; v += LANE_COUNT) {
            let row = n + v / slot_RANKS;
            let r = r0 + v % slot_RANKS;
            var a = vec2<f32>();
            if (r < adapter_params.rank && row < adapter_params.n1) {
                let at = row * adapter_params.rank + r;
                a = vec2<f32>(slot_a1_load1(adapter_params.a0 + at), slot_a2_load1(adapter_params.c0 + at));
            }
            slot_tile_a[v] = a;
        }
        workgroupBarrier();
        #unroll
        for (var r = 0u; r < slot_RANKS; r++) {
            #unroll
            for (var i = 0u; i < 8u; i++) {
                let place = (r * 8u + t) * 8u + ((i + t) & 7u);
                #unroll
                for (var j = 0u; j < LANE_ROWS; j++) {
                    let a = slot_tile_a[(j * adapter_TEAMS + lane / 8u) * slot_RANKS + r];
                    first[j * 8u + i] += a.x * slot_tile_b1[place];
                    second[j * 8u + i] += a.y * slot_tile_b2[place];
                }
            }
        }
        workgroupBarrier();
    }
    #unroll
    for (var i = 0u; i < LANE_ROWS * 8u; i++) { first[i] = adapter_params.scale * (first[i] * second[i]); }
    return first;
}
