//! The device card: what the browser says of the device, as JSON.

use gristmill::{Caps, Dispatcher};

use crate::json::{list, number, object, text};

/// What wgpu does not pass on of the browser's words.
#[derive(Default)]
pub struct Browser {
    /// `GPUAdapterInfo.vendor`.
    pub vendor: String,
    /// `GPUAdapterInfo.architecture`.
    pub architecture: String,
}

/// The card of an open device.
pub fn card(gpu: &Dispatcher, browser: &Browser) -> String {
    let (info, caps) = (gpu.info(), gpu.caps());
    let name = [&*info.name, &*browser.architecture, &*browser.vendor].into_iter().find(|n| !n.is_empty());
    object(&[
        ("name", text(name.unwrap_or_default())),
        ("vendor", text(&browser.vendor)),
        ("architecture", text(&browser.architecture)),
        ("kind", text(caps.kind.name())),
        ("api", text("WebGPU")),
        ("driver", text(&info.driver)),
        ("limits", limits(caps)),
        ("chips", chips(caps)),
    ])
}

fn limits(caps: &Caps) -> String {
    let base = Caps::baseline();
    let limit = |name, unit, of: &dyn Fn(&Caps) -> f64| {
        object(&[
            ("name", text(name)),
            ("value", number(of(caps))),
            ("baseline", number(of(&base))),
            ("unit", text(unit)),
        ])
    };
    let subgroup = |c: &Caps| c.subgroups.map_or(0.0, |s| f64::from(s.min));
    list([
        limit("storage_binding_bytes", "bytes", &|c| c.storage_binding_bytes as f64),
        limit("buffer_bytes", "bytes", &|c| c.buffer_bytes as f64),
        limit("storage_buffers_of_a_shader", "", &|c| f64::from(c.storage_buffers)),
        limit("workgroup_memory_bytes", "bytes", &|c| f64::from(c.workgroup_bytes)),
        limit("invocations_of_a_workgroup", "", &|c| f64::from(c.invocations)),
        limit("workgroups_of_a_dimension", "", &|c| f64::from(c.workgroups)),
        limit("uniform_binding_bytes", "bytes", &|c| c.uniform_binding_bytes as f64),
        limit("uniform_alignment_bytes", "bytes", &|c| f64::from(c.uniform_align_bytes)),
        limit("least_subgroup_size", "", &subgroup),
    ])
}

fn chips(caps: &Caps) -> String {
    let chip = |name, there, with: String, without: &str| {
        let note = if there { with } else { without.to_owned() };
        object(&[("name", text(name)), ("there", there.to_string()), ("note", text(&note))])
    };
    let sizes = caps.subgroups.map_or_else(String::new, |s| {
        if s.min == s.max { format!("size {}", s.min) } else { format!("sizes {} to {}", s.min, s.max) }
    });
    list([
        chip(
            "f16",
            caps.f16,
            "Shaders read and write halves as they are.".into(),
            "Tensors in f16 are stored all the same, two to a word, and widened by integer arithmetic: the same bytes, a few \
             instructions more for each number.",
        ),
        chip(
            "subgroups",
            caps.subgroups.is_some(),
            format!(
                "Lanes add up by shuffles, without a barrier ({sizes}). Proved by a kernel that was run and compared."
            ),
            "Lanes add up through workgroup memory: as many barriers more as halvings, and a little memory.",
        ),
        chip(
            "timestamps",
            caps.timestamps,
            "The GPU's own clock times a pass. Browsers round it, so runs are repeated until they take milliseconds."
                .into(),
            "Times are the slope between two numbers of repeats, by the clock of the page: they need longer runs and are noisier.",
        ),
        chip(
            "int8 dot",
            caps.int8_products,
            "Four products of 8-bit integers in one instruction, for linear layers on int8 activations.".into(),
            "Products of 8-bit integers are taken one by one, which linear layers on int8 activations feel. The norms do not use it.",
        ),
        chip(
            "matrix units",
            !caps.matrix.is_empty(),
            "Small matrices are multiplied in one instruction.".into(),
            "No browser offers them yet outside of an experiment. The norms do not use them; a linear layer over many rows misses them.",
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_has_a_note_whether_it_is_there_or_not() {
        for caps in [Caps::baseline(), Caps::apple_m()] {
            let chips = chips(&caps);
            assert_eq!(chips.matches("\"note\":\"").count(), 5, "{chips}");
            assert!(!chips.contains("\"note\":\"\""), "{chips}");
            assert_eq!(chips.contains("\"there\":true"), caps.f16, "{chips}");
        }
        assert!(
            limits(&Caps::apple_m()).contains(r#"{"name":"least_subgroup_size","value":32,"baseline":0,"unit":""}"#)
        );
    }
}
