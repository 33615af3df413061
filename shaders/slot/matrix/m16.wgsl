// Matrix units of 16 × 16. Operands are f16, sums f32.
enable f16;
enable wgpu_cooperative_matrix;
const slot_SIZE = 16u;
alias slot_a = coop_mat16x16<f16, A>;
alias slot_b = coop_mat16x16<f16, B>;
alias slot_sum = coop_mat16x16<f32, C>;
alias slot_number4 = vec4<f16>;
// Tiles are of single numbers: Metal loads a matrix from nothing else.
alias slot_cell = f16;
alias slot_sum_cell = f32;
const slot_CELLS = 4u; // cells of four numbers

fn slot_of4(v: vec4<f32>) -> slot_number4 {
    return slot_number4(v);
}

// Cell i of the four.
fn slot_cell_of(v: slot_number4, i: u32) -> slot_cell {
    return v[i];
}

fn slot_sum_cell_of(v: vec4<f32>, i: u32) -> slot_sum_cell {
    return v[i];
}

// The four of so many cells.
fn slot_sum4(cells: array<slot_sum_cell, slot_CELLS>) -> vec4<f32> {
    return vec4<f32>(cells[0], cells[1], cells[2], cells[3]);
}
