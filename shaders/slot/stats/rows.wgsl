// Stores the mean (0 where it is not subtracted) and the factor of each row.
@group(0) @binding(0) var<storage, read_write> slot_data: array<f32>; // [rows, 2]

fn slot_store(row: u32, mean: f32, factor: f32) {
    slot_data[norm_params.stats0 + row * 2u] = mean;
    slot_data[norm_params.stats0 + row * 2u + 1u] = factor;
}
