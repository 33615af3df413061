// The output is quantised, each row by a scale of its own: codes in y, the scale here.
const slot_ON = true;
@group(0) @binding(0) var<storage, read_write> slot_data: array<f32>; // [rows]

fn slot_store(row: u32, scale: f32) {
    slot_data[norm_params.scale0 + row] = scale;
}
