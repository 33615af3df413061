// prepare/rescale: y[n,k] = (w[n,k] − from_row[n] − from_col[k]) · by_row[n] · by_col[k] + add[n], and where CLIPPED no further from 0
// than limit[n].
//
// A row of y may be shorter than one of w: then it is the beginning of it. What is absent is 0 or 1.
// Good for every change of a weight that follows from a number for each row and column. Wrong where the factors can stay vectors: a
// kernel that multiplies with the weight takes them for nothing.
// Moves w once and y once, vectors from cache; four numbers a lane, no barriers.
#const CLIPPED = false
#import prepare
#slot w @binding(1)          // [N, K]
#slot from_row @binding(2)   // [N]
#slot from_col @binding(3)   // [K]
#slot by_row @binding(4)     // [N] or [1]
#slot by_col @binding(5)     // [K]
#slot add @binding(6)        // [N]
#slot limit @binding(7)      // [N]
#slot y @binding(8)          // [N, width]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * prepare_params.fold) * 256u + lane;
    let width = prepare_params.width;
    let quads = (width + 3u) / 4u;
    let n = id / quads;
    if (n >= prepare_params.n) { return; }
    let i = id % quads * 4u;
    let real = min(width - i, 4u);
    var v = w_load4(prepare_params.at1 + n * prepare_params.k + i, real);
    v -= from_row_load1(prepare_params.at2 + n) + from_col_load4(prepare_params.at3 + i, real);
    v *= by_row_load1(prepare_params.at4 + n * prepare_params.each) * by_col_load4(prepare_params.at5 + i, real);
    v += add_load1(prepare_params.at6 + n);
    if (CLIPPED) {
        // Not by clamp: a NaN stays one.
        let most = limit_load1(prepare_params.at7 + n);
        v = select(v, select(vec4<f32>(-most), vec4<f32>(most), v > vec4<f32>()), abs(v) > vec4<f32>(most));
    }
    y_store4(prepare_params.at8 + n * width + i, v, real);
}
