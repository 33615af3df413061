// prepare/column_stats: of every column its mean, its squares about the mean, its mean magnitude, its largest magnitude.
//
// As prepare/row_stats, by teams that walk down the rows (lib/columns).
// Good for matrices of any shape that fit a binding, once at load. Wrong for a few columns of very many rows: a workgroup has 32 columns.
// Reads w twice; writes 16 bytes a column. Barriers: six reductions over teams; 8 KiB of workgroup memory.
#import prepare
#import columns
#import guarded
#slot w @binding(1) // [N, K]
@group(0) @binding(2) var<storage, read_write> stats: array<f32>; // [4, K]

@compute @workgroup_size(columns_LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = group.x + group.y * prepare_params.fold;
    let k = prepare_params.k;
    if (id * columns_QUADS * 4u >= k) { return; }
    let quad = (id * columns_QUADS + lane % columns_QUADS) * 4u;
    // Lanes past the last column walk no rows: barriers need them all.
    let real = min(k - min(quad, k), 4u);
    let end = select(0u, prepare_params.n, real > 0u);
    let inside = prepare_inside(quad, k);
    var sum = vec4<f32>();
    var magnitudes = vec4<f32>();
    var largest = vec4<u32>();
    for (var row = lane / columns_QUADS; row < end; row += columns_TEAMS) {
        let v = select(vec4<f32>(), w_load4(prepare_params.at1 + row * k + quad, real), inside);
        sum += v;
        magnitudes += abs(v);
        largest = max(largest, bitcast<vec4<u32>>(v) & vec4<u32>(0x7fffffffu));
    }
    let count = f32(prepare_params.n);
    let mean = columns_sum4(sum, lane) / count;
    magnitudes = columns_sum4(magnitudes, lane) / count;
    largest = columns_max4(largest, lane);
    var squares = vec4<f32>();
    var rest = vec4<f32>();
    var rest_of_magnitudes = vec4<f32>();
    for (var row = lane / columns_QUADS; row < end; row += columns_TEAMS) {
        let number = w_load4(prepare_params.at1 + row * k + quad, real);
        let v = number - mean;
        squares += v * v;
        rest += v;
        rest_of_magnitudes += abs(number) - magnitudes;
    }
    squares = columns_sum4(squares, lane);
    rest = columns_sum4(rest, lane);
    magnitudes += columns_sum4(rest_of_magnitudes, lane) / count;
    if (lane >= columns_QUADS) { return; }
    let off = rest / count;
    let centre = mean + off;
    squares = guarded_positive4(squares - off * rest);
    #unroll
    for (var i = 0u; i < 4u; i++) {
        let at = prepare_params.at2 + quad + i;
        if (i < real) {
            stats[at] = centre[i];
            stats[at + prepare_params.width] = squares[i];
            stats[at + prepare_params.width * 2u] = magnitudes[i];
            stats[at + prepare_params.width * 3u] = bitcast<f32>(largest[i]);
        }
    }
}
