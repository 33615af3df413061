//! What a GPU's compiler makes of the kernels, where no GPU is: registers, spills, workgroup memory, waves, instructions.
//!
//! Each real case's best plan for a desktop GPU (or, with `--all-plans`, every plan) becomes SPIR-V as wgpu makes it, and a Vulkan driver
//! compiles that. `cargo xtask registers` runs this with a driver that compiles for an AMD GPU which need not be there; on a machine with a GPU,
//! `cargo bench --bench registers` asks its own driver, if it tells. Nothing is run, so that nothing is said of speed; but a kernel that
//! spills its registers, keeps arrays in scratch memory, or leaves room for few waves to hide memory behind, is slow on any GPU.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this program talks to a person")]
#![allow(unsafe_code, reason = "Vulkan itself: wgpu does not tell what a driver's compiler says")]

use std::collections::HashSet;
use std::process::ExitCode;

use ash::vk;
use gristmill::proof::cases;
use gristmill::{Caps, wgsl};
use naga::valid::{Capabilities, ValidationFlags, Validator};

type Failure = Box<dyn std::error::Error>;

const HELP: &str = "\
cargo xtask registers [FILTER]... [OPTIONS]

Compiles the kernels of the real cases, and shows what they need. With filters, only what contains one of them in
`case storage plan kernel`.

  --all-plans  every plan that a desktop GPU is offered, not only the one that it gets
  --check      fail where a kernel spills registers";

/// What a compiler tells, in the order of the table: by RADV's names, and by NVIDIA's.
const FIGURES: [[&str; 2]; 6] = [
    ["VGPRs", "Register Count"],
    ["Spilled VGPRs", ""],
    ["Scratch size", "Local Memory Size"],
    ["LDS size", "Shared Memory Size"],
    ["Subgroups per SIMD", ""],
    ["Instructions", ""],
];
const SPILLED: usize = 1;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, Failure> {
    let (mut filters, mut all_plans, mut check) = (Vec::new(), false, false);
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--bench" => {}
            "--all-plans" => all_plans = true,
            "--check" => check = true,
            "--help" | "-h" => {
                println!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            flag if flag.starts_with('-') => return Err(format!("unknown option `{flag}`\n{HELP}").into()),
            _ => filters.push(arg),
        }
    }
    let compiler = Compiler::new()?;
    println!("compiled by {}", compiler.name);
    println!(
        "{:>9} {:>7} {:>7} {:>9} {:>5} {:>12}",
        "registers", "spilled", "scratch", "workgroup", "waves", "instructions"
    );
    // With subgroups of 32 and units of 16 × 16: what both NVIDIA's and AMD's compilers can make kernels for.
    let caps = Caps::nvidia();
    let (mut seen, mut spilled) = (HashSet::new(), 0);
    for case in cases::all().into_iter().filter(|case| case.real) {
        for storage in &case.storages {
            let plans = case.plans(*storage, &caps)?;
            let shown = if all_plans { plans.len() } else { 1 };
            for plan in plans.iter().take(shown) {
                for step in &plan.steps {
                    let title = format!("{} {} {} {}", case.name, storage.name(), plan.name, step.key.kernel);
                    let asked = filters.is_empty() || filters.iter().any(|filter| title.contains(filter.as_str()));
                    if !asked || !seen.insert(step.key.to_string()) {
                        continue;
                    }
                    let figures = compiler.compile(&spirv(&step.key)?).map_err(|e| format!("{title}: {e}"))?;
                    if check && figures[SPILLED].is_none() {
                        return Err(format!("{} does not tell what it spills", compiler.name).into());
                    }
                    spilled += usize::from(figures[SPILLED].is_some_and(|n| n > 0));
                    let told = figures.map(|figure| figure.map_or_else(|| "?".into(), |n| n.to_string()));
                    let [registers, spills, scratch, memory, waves, instructions] = told;
                    println!(
                        "{registers:>9} {spills:>7} {scratch:>7} {memory:>9} {waves:>5} {instructions:>12}  {title}"
                    );
                }
            }
        }
    }
    if seen.is_empty() {
        return Err("no kernel of a real case has such a name".into());
    }
    println!("{} kernels, {spilled} of them spill registers", seen.len());
    Ok(if check && spilled > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The SPIR-V of a kernel as wgpu writes it for a device that checks bounds of buffers itself.
fn spirv(key: &gristmill::plan::PipelineKey) -> Result<Vec<u32>, Failure> {
    use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
    let composed = wgsl::compose(key, gristmill::Target::Native, wgsl::Loops::Unrolled)?;
    let module = naga::front::wgsl::parse_str(&composed.text).map_err(|e| format!("{key}: {}", e.message()))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module)?;
    let options = naga::back::spv::Options {
        lang_version: (1, 6),
        flags: naga::back::spv::WriterFlags::empty(),
        bounds_check_policies: BoundsCheckPolicies {
            index: BoundsCheckPolicy::Restrict,
            buffer: BoundsCheckPolicy::Unchecked,
            image_load: BoundsCheckPolicy::Unchecked,
            binding_array: BoundsCheckPolicy::Unchecked,
        },
        zero_initialize_workgroup_memory: naga::back::spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        ..Default::default()
    };
    let entry =
        naga::back::spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: "main".into() };
    Ok(naga::back::spv::write_vec(&module, &info, &options, Some(&entry))?)
}

/// A Vulkan device of which only the compiler is used.
struct Compiler {
    name: String,
    device: ash::Device,
    told: ash::khr::pipeline_executable_properties::Device,
    layout: vk::PipelineLayout,
    // The loader lives as long as what it has loaded.
    _instance: ash::Instance,
    _entry: ash::Entry,
}

impl Compiler {
    fn new() -> Result<Self, Failure> {
        // SAFETY: all that is handed to Vulkan lives until the call returns, and what it makes lives until the program ends.
        unsafe {
            let entry = ash::Entry::load().map_err(|e| format!("no Vulkan loader: {e}"))?;
            let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
            let instance = entry.create_instance(&vk::InstanceCreateInfo::default().application_info(&app), None)?;
            let physical = *instance.enumerate_physical_devices()?.first().ok_or("no Vulkan device")?;
            let properties = instance.get_physical_device_properties(physical);
            let name = properties.device_name_as_c_str()?.to_string_lossy().into_owned();
            let mut matrices = vk::PhysicalDeviceCooperativeMatrixFeaturesKHR::default().cooperative_matrix(true);
            let mut executables =
                vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default().pipeline_executable_info(true);
            let mut v11 = vk::PhysicalDeviceVulkan11Features::default()
                .storage_buffer16_bit_access(true)
                .uniform_and_storage_buffer16_bit_access(true);
            let mut v12 = vk::PhysicalDeviceVulkan12Features::default().shader_float16(true).vulkan_memory_model(true);
            let mut v13 = vk::PhysicalDeviceVulkan13Features::default()
                .subgroup_size_control(true)
                .compute_full_subgroups(true)
                .shader_integer_dot_product(true);
            let features = vk::PhysicalDeviceFeatures::default().shader_int16(true);
            let extensions = [c"VK_KHR_pipeline_executable_properties".as_ptr(), c"VK_KHR_cooperative_matrix".as_ptr()];
            let priorities = [1.0];
            let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&priorities)];
            let info = vk::DeviceCreateInfo::default()
                .queue_create_infos(&queues)
                .enabled_extension_names(&extensions)
                .enabled_features(&features)
                .push_next(&mut v11)
                .push_next(&mut v12)
                .push_next(&mut v13)
                .push_next(&mut executables)
                .push_next(&mut matrices);
            let device = instance
                .create_device(physical, &info, None)
                .map_err(|e| format!("{name} does not tell what it compiles, or has no matrix units: {e}"))?;
            let told = ash::khr::pipeline_executable_properties::Device::new(&instance, &device);
            // As our kernels bind: params, and storage buffers after them.
            let bindings: Vec<_> = (0..16)
                .map(|i| {
                    let kind =
                        if i == 0 { vk::DescriptorType::UNIFORM_BUFFER } else { vk::DescriptorType::STORAGE_BUFFER };
                    let binding = vk::DescriptorSetLayoutBinding::default().binding(i).descriptor_count(1);
                    binding.descriptor_type(kind).stage_flags(vk::ShaderStageFlags::COMPUTE)
                })
                .collect();
            let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let sets = [device.create_descriptor_set_layout(&set, None)?];
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = device.create_pipeline_layout(&layout, None)?;
            Ok(Self { name, device, told, layout, _instance: instance, _entry: entry })
        }
    }

    /// The figures of [`FIGURES`], where the driver has them.
    fn compile(&self, words: &[u32]) -> Result<[Option<u64>; FIGURES.len()], Failure> {
        // SAFETY: as above; the module is valid, since naga has validated what it was written from.
        unsafe {
            let module = self.device.create_shader_module(&vk::ShaderModuleCreateInfo::default().code(words), None)?;
            let mut size = vk::PipelineShaderStageRequiredSubgroupSizeCreateInfo::default().required_subgroup_size(32);
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .module(module)
                .name(c"main")
                .stage(vk::ShaderStageFlags::COMPUTE)
                .push_next(&mut size);
            let info = vk::ComputePipelineCreateInfo::default()
                .stage(stage)
                .layout(self.layout)
                .flags(vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR);
            let pipelines = self.device.create_compute_pipelines(vk::PipelineCache::null(), &[info], None);
            let pipeline = pipelines.map_err(|(_, e)| e)?[0];
            let asked = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
            let statistics = self.told.get_pipeline_executable_statistics(&asked)?;
            self.device.destroy_pipeline(pipeline, None);
            self.device.destroy_shader_module(module, None);
            Ok(FIGURES.map(|names| {
                let named = |s: &&vk::PipelineExecutableStatisticKHR<'_>| {
                    s.name_as_c_str().is_ok_and(|n| names.iter().any(|name| n.to_bytes() == name.as_bytes()))
                };
                let found = statistics.iter().find(named)?;
                let is_whole = found.format == vk::PipelineExecutableStatisticFormatKHR::UINT64;
                // NVIDIA's 580.159 has something else in the upper half.
                is_whole.then_some(found.value.u64 & u64::from(u32::MAX))
            }))
        }
    }
}
