// max(v, 0); a NaN stays one, which `max` does not promise.
#import guarded
fn slot_of(v: vec4<f32>) -> vec4<f32> {
    return guarded_positive4(v);
}
