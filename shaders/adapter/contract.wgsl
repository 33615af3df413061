// adapter/contract: the last two cores of an MPO as one.
//
//     y[α, n·N' + n', k·K' + k'] = Σ_β x[α,n,k,β]·rest[β,n',k']
//
// One lane an output, neighbours along k', so that `rest` is loaded next to each other and x is the same for all. Called for one core
// after the other, from the right, until two are left: those the merge contracts block by block (slot/delta/mpo), so that the whole
// matrix is never written. Good for cores as adapters have them, of some hundred kilobytes. Wrong as a matrix product of large ones.
// Reads β numbers of each for an output, from cache; writes 4 bytes.
struct contract_Params {
    fold: u32,   // the grid's x
    alpha: u32,  // left bond
    n: u32,      // outputs of the core
    k: u32,      // inputs of it
    beta: u32,   // bond between
    rest_n: u32, // outputs of the rest
    rest_k: u32, // inputs of it
    x0: u32,     // first element of the core
    rest0: u32,  // of the rest
    pad0: u32,   // nothing
    pad1: u32,   // nothing
    pad2: u32,   // nothing
}
@group(0) @binding(0) var<uniform> contract_params: contract_Params;
#slot x @binding(1)    // [α, n, k, β]
#slot rest @binding(2) // [β, n', k']
@group(0) @binding(3) var<storage, read_write> y: array<f32>; // [α, n·n', k·k']

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.x + group.y * contract_params.fold) * 64u + lane;
    let across = contract_params.k * contract_params.rest_k;
    let down = contract_params.n * contract_params.rest_n;
    if (id >= contract_params.alpha * down * across) { return; }
    let column = id % across;
    let row = id / across % down;
    let alpha = id / across / down;
    let core = (alpha * contract_params.n + row / contract_params.rest_n) * contract_params.k + column / contract_params.rest_k;
    let rest = row % contract_params.rest_n * contract_params.rest_k + column % contract_params.rest_k;
    var sum = 0.0;
    for (var beta = 0u; beta < contract_params.beta; beta++) {
        let i = beta * contract_params.rest_n * contract_params.rest_k + rest;
        sum += x_load1(contract_params.x0 + core * contract_params.beta + beta) * rest_load1(contract_params.rest0 + i);
    }
    y[id] = sum;
}
