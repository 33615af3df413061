// prepare/pick: value[p] = w[n,k] − v[n,k] at places (n, k): what a few numbers of a weight were, or what is missing of them.
//
// Good for the handful of numbers that a format must not lose. Wrong for many: one lane a number, read far apart.
// Costs some reads of 4 bytes a place; no barriers. A place outside the matrix gives 0.
#import prepare
#slot w @binding(1) // [N, K]
#slot v @binding(2) // [N, K]
@group(0) @binding(3) var<storage, read> places: array<u32>; // [P, 2]
@group(0) @binding(4) var<storage, read_write> value: array<f32>; // [P]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let p = (group.x + group.y * prepare_params.fold) * 64u + lane;
    if (p >= prepare_params.width) { return; }
    let n = places[prepare_params.at3 + p * 2u];
    let k = places[prepare_params.at3 + p * 2u + 1u];
    let inside = n < prepare_params.n && k < prepare_params.k;
    let at = select(0u, n * prepare_params.k + k, inside);
    let v = w_load1(prepare_params.at1 + at) - v_load1(prepare_params.at2 + at);
    value[prepare_params.at4 + p] = select(0.0, v, inside);
}
