//! Params: what a kernel is told beside its operands, as a uniform.

/// The params of a kernel: plain data, with its fields by name so that a test can compare them with the WGSL struct.
pub trait Params: bytemuck::Pod {
    /// Field, type and offset in bytes.
    const FIELDS: &'static [(&'static str, &'static str, usize)];
}

/// Defines a params struct, laid out as WGSL lays it out.
macro_rules! params {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        // What a kernel is told changes with the kernel: it is public for the test that compares it with the WGSL.
        #[doc(hidden)]
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl $crate::ops::params::Params for $name {
            const FIELDS: &'static [(&'static str, &'static str, usize)] =
                &[$((stringify!($field), stringify!($type), std::mem::offset_of!($name, $field))),*];
        }
    };
}
pub(crate) use params;
