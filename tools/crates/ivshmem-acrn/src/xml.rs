// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Scenario XML: the structured form of ACRN 3, and the older one with texts in it.

use roxmltree::{Document, Node};

use crate::check::{self, Draft, Place};
use crate::{text, Error, Order, Rule, Scenario, Vm};

/// Reads a scenario file's contents.
///
/// Elements other than `IVSHMEM`, the virtual machines' names and kinds, and the PCI addresses of virtual UARTs are
/// not looked at. A file that defines no virtual machine gets those that its regions name.
pub fn parse(xml: &str) -> Result<Scenario, Error> {
    let document =
        Document::parse(xml).map_err(|error| Rule::Syntax(error.to_string()).at("scenario"))?;
    let root = document.root_element();
    let vms = vms(root)?;
    let regions: Vec<Node<'_, '_>> = ivshmem(root)
        .flat_map(|node| children(node, "IVSHMEM_REGION"))
        .collect();
    let structured = |node: &Node<'_, '_>| node.children().any(|child| child.is_element());
    if regions.iter().any(structured) {
        let drafts: Vec<Draft> = regions.into_iter().map(draft).collect();
        return check::scenario(vms, &vuarts(root), &drafts);
    }
    // The older form has a switch; without it, or with anything but `y`, regions do not count.
    let enabled = ivshmem(root).any(|node| field(node, "IVSHMEM_ENABLED").as_deref() == Some("y"));
    let texts: Vec<&str> = match enabled {
        true => regions
            .iter()
            .map(|node| node.text().unwrap_or(""))
            .collect(),
        false => Vec::new(),
    };
    text::parse(&texts, (!vms.is_empty()).then_some(vms))
}

/// All `IVSHMEM` elements, the root included.
fn ivshmem<'a, 'input>(root: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    root.descendants()
        .filter(|node| node.has_tag_name("IVSHMEM"))
}

fn children<'a, 'input: 'a>(
    node: Node<'a, 'input>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children()
        .filter(move |child| child.has_tag_name(name))
}

/// The text of a child, without blanks around it; `None` if it is missing or empty.
fn field(node: Node<'_, '_>, name: &'static str) -> Option<String> {
    let text = children(node, name).next()?.text()?.trim();
    (!text.is_empty()).then(|| text.to_string())
}

fn vms(root: Node<'_, '_>) -> Result<Vec<Vm>, Error> {
    children(root, "vm").map(vm).collect()
}

fn vm(node: Node<'_, '_>) -> Result<Vm, Error> {
    let id = node.attribute("id").and_then(|id| id.parse().ok());
    let id = id.ok_or_else(|| {
        Rule::Syntax("a vm element needs the attribute id, a number".into()).at("scenario")
    })?;
    let kind = field(node, "load_order").or(field(node, "vm_type"));
    Ok(Vm {
        id,
        name: field(node, "name").unwrap_or_else(|| format!("VM{id}")),
        order: order(kind.as_deref().unwrap_or("")),
    })
}

/// `load_order` of ACRN 3, `vm_type` before.
fn order(kind: &str) -> Order {
    match kind {
        "PRE_LAUNCHED_VM" | "SAFETY_VM" | "PRE_STD_VM" | "PRE_RT_VM" => Order::PreLaunched,
        "SERVICE_VM" | "SOS_VM" => Order::Service,
        _ => Order::PostLaunched,
    }
}

/// The ends of each connection of virtual UARTs that are PCI devices.
fn vuarts(root: Node<'_, '_>) -> Vec<Vec<Place>> {
    let connections = root.descendants().filter(|node| {
        node.has_tag_name("vuart_connection") && field(*node, "type").as_deref() == Some("pci")
    });
    connections
        .map(|node| {
            let ends = children(node, "endpoint");
            ends.map(|end| {
                (
                    field(end, "vm_name").unwrap_or_default(),
                    field(end, "vbdf"),
                )
            })
            .collect()
        })
        .collect()
}

fn draft(node: Node<'_, '_>) -> Draft {
    let vms = children(node, "IVSHMEM_VMS").flat_map(|vms| children(vms, "IVSHMEM_VM"));
    Draft {
        name: field(node, "NAME").unwrap_or_default(),
        provided_by: field(node, "PROVIDED_BY"),
        size: field(node, "IVSHMEM_SIZE"),
        id: field(node, "IVSHMEM_REGION_ID"),
        vms: vms
            .map(|vm| (field(vm, "VM_NAME").unwrap_or_default(), field(vm, "VBDF")))
            .collect(),
    }
}
