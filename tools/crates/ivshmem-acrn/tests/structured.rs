// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The structured form, as XML and as TOML: what is taken, and the message for everything that is not.

use ivshmem_acrn::{toml_form, xml, Order, Provider, Scenario};

const VMS: &str = r#"
    <vm id="0"><name>SAFETY_VM0</name><load_order>PRE_LAUNCHED_VM</load_order></vm>
    <vm id="1"><name>SERVICE_VM</name><load_order>SERVICE_VM</load_order></vm>
    <vm id="2"><name>POST_STD_VM1</name><load_order>POST_LAUNCHED_VM</load_order></vm>"#;

fn scenario(regions: &str) -> Result<Scenario, String> {
    let text = format!(
        "<acrn-config><hv><FEATURES><IVSHMEM>{regions}</IVSHMEM></FEATURES></hv>{VMS}</acrn-config>"
    );
    xml::parse(&text).map_err(|error| error.to_string())
}

fn member(name: &str, bdf: &str) -> String {
    format!("<IVSHMEM_VM><VM_NAME>{name}</VM_NAME><VBDF>{bdf}</VBDF></IVSHMEM_VM>")
}

fn region(fields: &str, members: &[String]) -> String {
    let members = members.concat();
    format!("<IVSHMEM_REGION>{fields}<IVSHMEM_VMS>{members}</IVSHMEM_VMS></IVSHMEM_REGION>")
}

/// A region `a` of two virtual machines, with these fields in addition.
fn with(fields: &str) -> String {
    let members = [
        member("SAFETY_VM0", "00:08.0"),
        member("POST_STD_VM1", "00:08.0"),
    ];
    region(&format!("<NAME>a</NAME>{fields}"), &members)
}

fn message(regions: &str) -> String {
    scenario(regions).expect_err(regions)
}

#[test]
fn a_scenario_of_acrn_3() {
    let members = [member("POST_STD_VM1", ""), member("SAFETY_VM0", "00:0a.0")];
    // Children may come in any order.
    let fields = "<IVSHMEM_SIZE>16</IVSHMEM_SIZE><IVSHMEM_REGION_ID>0x1234</IVSHMEM_REGION_ID><PROVIDED_BY>Device Model</PROVIDED_BY><NAME>shm_region_0</NAME>";
    let scenario = scenario(&region(fields, &members)).unwrap();
    let region = &scenario.regions[0];
    assert_eq!(region.full_name(), "dm:/shm_region_0");
    assert_eq!((region.size.mib(), region.id), (16, 0x1234));
    let members: Vec<_> = region
        .members
        .iter()
        .map(|m| (m.vm, m.bdf.to_string()))
        .collect();
    assert_eq!(members, [(2, "00:08.0".into()), (0, "00:0a.0".into())]);
    assert_eq!(scenario.vm(1).unwrap().order, Order::Service);
}

#[test]
fn defaults() {
    let scenario = scenario(&with("")).unwrap();
    let region = &scenario.regions[0];
    assert_eq!(region.provider, Provider::Hypervisor);
    assert_eq!((region.size.mib(), region.id), (2, 0));
}

#[test]
fn no_region_is_no_feature() {
    assert_eq!(scenario("").unwrap().regions, []);
}

#[test]
fn region_ids_as_the_tutorial_has_them() {
    for (text, id) in [
        ("0", 0),
        ("0x1000", 0x1000),
        ("4096", 4096),
        ("0XFFFF", 0xffff),
    ] {
        let fields = format!("<IVSHMEM_REGION_ID>{text}</IVSHMEM_REGION_ID>");
        assert_eq!(scenario(&with(&fields)).unwrap().regions[0].id, id);
    }
    for text in ["1", "0xFFF", "0x10000", "x", "-1", "+4096", "0x+1000"] {
        let fields = format!("<IVSHMEM_REGION_ID>{text}</IVSHMEM_REGION_ID>");
        assert_eq!(
            message(&with(&fields)),
            format!("IVSHMEM_REGION[1]: \"{text}\" is no region ID: it is 0, or from 0x1000 to 0xFFFF, in decimal or hexadecimal; 0x1 to 0xFFF are reserved")
        );
    }
}

#[test]
fn names() {
    let pattern = "IVSHMEM_REGION[1]: Name must be between 1-27 characters and contain only letters, digits and \"_\".";
    let members = [member("SAFETY_VM0", ""), member("POST_STD_VM1", "")];
    let named = |name: &str| region(&format!("<NAME>{name}</NAME>"), &members);
    assert!(scenario(&named(&"a".repeat(27))).is_ok());
    assert_eq!(message(&named(&"a".repeat(28))), pattern);
    assert_eq!(message(&named("a-b")), pattern);
    assert_eq!(message(&named("hv:/a")), pattern);
    assert_eq!(
        message(&region("", &members)),
        "IVSHMEM_REGION[1]: InterVM shared memory region name must be set"
    );
}

#[test]
fn sizes_and_providers() {
    for text in ["1", "3", "1024", "2M", "0x2"] {
        assert_eq!(
            message(&with(&format!("<IVSHMEM_SIZE>{text}</IVSHMEM_SIZE>"))),
            format!("IVSHMEM_REGION[1]: \"{text}\" is no size: choose 2, 4, 8, 16, 32, 64, 128, 256 or 512 (MB)")
        );
    }
    assert_eq!(
        message(&with("<PROVIDED_BY>hv</PROVIDED_BY>")),
        "IVSHMEM_REGION[1]: \"hv\" provides no regions: choose Hypervisor or Device Model"
    );
}

#[test]
fn virtual_machines() {
    let a = "<NAME>a</NAME>";
    let vm0 = member("SAFETY_VM0", "");
    assert_eq!(
        message(&region(a, &[vm0.clone(), member("SAFETY_VM0", "00:09.0")])),
        "IVSHMEM_REGION[1]: VM \"SAFETY_VM0\" may not be duplicated in the list of VMs that have access to the Inter-VM shared memory region \"a\"."
    );
    assert_eq!(
        message(&region(a, std::slice::from_ref(&vm0))),
        "IVSHMEM_REGION[1]: Inter-VM shared memory region \"a\" needs at least two VMs: nobody could share it"
    );
    assert_eq!(
        message(&region(a, &[vm0.clone(), member("VM9", "")])),
        "IVSHMEM_REGION[1]: Inter-VM shared memory region \"a\" names VM \"VM9\", which the scenario does not define"
    );
    let name = "Must NOT be longer than 15 characters or contain characters other than letters, digits, '_' and '-'.";
    for bad in ["0123456789abcdef", "VM 1"] {
        assert_eq!(
            message(&region(a, &[vm0.clone(), member(bad, "")])),
            format!("IVSHMEM_REGION[1]/{bad}: {name}")
        );
    }
}

#[test]
fn addresses() {
    let a = "<NAME>a</NAME>";
    let b = "<NAME>b</NAME>";
    let at = |bdf: &str| region(a, &[member("SAFETY_VM0", ""), member("POST_STD_VM1", bdf)]);
    assert_eq!(
        message(&at("00:20.0")),
        "IVSHMEM_REGION[1]/POST_STD_VM1: A string with up to two hex digits, a ``:``, two hex digits, a ``.``, and one digit between 0-7."
    );
    assert_eq!(
        message(&at("0:08.0")),
        "IVSHMEM_REGION[1]/POST_STD_VM1: not a bdf: '0:08.0'"
    );
    for reserved in ["00", "01", "02", "1f"] {
        assert_eq!(
            message(&at(&format!("00:{reserved}.0"))),
            "IVSHMEM_REGION[1]/POST_STD_VM1: For post launched VM, the \"device\" value of a virtual BDF, which is used by POST_STD_VM1, shall not be '00', '01', '02' or '1f', i.e., the allowed values are between 03 and 1e, inclusive."
        );
    }
    let twice = format!(
        "{}{}",
        with(""),
        region(
            b,
            &[
                member("SAFETY_VM0", "00:09.0"),
                member("POST_STD_VM1", "00:08.0")
            ]
        )
    );
    assert_eq!(
        message(&twice),
        "IVSHMEM_REGION[2]/POST_STD_VM1: VM \"POST_STD_VM1\" contains multiple virtual UART controllers or IVSHMEM interfaces using BDF 00:08.0. Adjust the BDF of those devices to be unique."
    );
}

/// An endpoint of a virtual UART that is a PCI device, in POST_STD_VM1.
fn vuart(kind: &str, bdf: &str) -> String {
    format!("<vuart_connections><vuart_connection><name>c</name><type>{kind}</type><endpoint><vm_name>POST_STD_VM1</vm_name><vbdf>{bdf}</vbdf></endpoint></vuart_connection></vuart_connections>")
}

fn with_vuarts(regions: &str, vuarts: &str) -> Result<Scenario, String> {
    let text = format!("<acrn-config><hv><FEATURES><IVSHMEM>{regions}</IVSHMEM></FEATURES>{vuarts}</hv>{VMS}</acrn-config>");
    xml::parse(&text).map_err(|error| error.to_string())
}

#[test]
fn virtual_uarts_take_addresses_too() {
    let message = with_vuarts(&with(""), &vuart("pci", "00:08.0")).unwrap_err();
    assert_eq!(
        message,
        "IVSHMEM_REGION[1]/POST_STD_VM1: VM \"POST_STD_VM1\" contains multiple virtual UART controllers or IVSHMEM interfaces using BDF 00:08.0. Adjust the BDF of those devices to be unique."
    );
    let twice = vuart("pci", "00:05.0").repeat(2);
    let message = with_vuarts(&with(""), &twice).unwrap_err();
    assert!(
        message.starts_with("vuart_connection[2]/POST_STD_VM1: VM \"POST_STD_VM1\" contains"),
        "{message}"
    );
    // One that is no PCI device has no address, and one without an address gets one later.
    for vuarts in [vuart("legacy", "00:08.0"), vuart("pci", "")] {
        with_vuarts(&with(""), &vuarts).unwrap();
    }
}

#[test]
fn a_virtual_uart_s_address_is_not_given_to_a_region() {
    let members = [member("SAFETY_VM0", ""), member("POST_STD_VM1", "")];
    let regions = region("<NAME>a</NAME>", &members);
    let scenario = with_vuarts(&regions, &vuart("pci", "00:08.0")).unwrap();
    let bdfs = scenario.regions[0].members.iter();
    let bdfs: Vec<String> = bdfs.map(|member| member.bdf.to_string()).collect();
    assert_eq!(bdfs, ["00:08.0", "00:09.0"]);
}

#[test]
fn addresses_run_out() {
    let many: String = (0..9)
        .map(|n| {
            let provider = "<PROVIDED_BY>Device Model</PROVIDED_BY>";
            let members = [member("SAFETY_VM0", ""), member("POST_STD_VM1", "")];
            region(&format!("<NAME>r{n}</NAME>{provider}"), &members)
        })
        .collect();
    assert_eq!(
        message(&many),
        "IVSHMEM_REGION[9]: Cannot find free bdf, used bdf: ['00:08.0', '00:09.0', '00:0a.0', '00:0b.0', '00:0c.0', '00:0d.0', '00:0e.0', '00:0f.0']"
    );
}

#[test]
fn at_most_eight_regions_of_the_hypervisor_and_any_number_of_others() {
    let regions = |count: u8, provider: &str| -> String {
        let one = |n| {
            let bdf = format!("00:{:02x}.{}", 3 + n / 8, n % 8);
            let members = [member("SAFETY_VM0", &bdf), member("POST_STD_VM1", &bdf)];
            let fields = format!("<NAME>r{n}</NAME><PROVIDED_BY>{provider}</PROVIDED_BY>");
            region(&fields, &members)
        };
        (0..count).map(one).collect()
    };
    assert!(scenario(&regions(8, "Hypervisor")).is_ok());
    assert!(scenario(&regions(20, "Device Model")).is_ok());
    assert_eq!(
        message(&regions(9, "Hypervisor")),
        "IVSHMEM: 9 regions are provided by the Hypervisor, which has room for 8"
    );
}

#[test]
fn one_name_in_two_lands_is_two_regions() {
    let members = [member("SAFETY_VM0", ""), member("POST_STD_VM1", "")];
    let dm = region(
        "<NAME>a</NAME><PROVIDED_BY>Device Model</PROVIDED_BY>",
        &members,
    );
    let hv = region("<NAME>a</NAME>", &members);
    assert_eq!(scenario(&format!("{hv}{dm}")).unwrap().regions.len(), 2);
    assert_eq!(
        message(&format!("{hv}{hv}")),
        "IVSHMEM_REGION[2]: The names of share memory regions should not be duplicated: hv:/a"
    );
}

#[test]
fn the_older_form_and_its_switch() {
    let old = |switch: &str| {
        scenario(&format!(
            "<IVSHMEM_ENABLED>{switch}</IVSHMEM_ENABLED><IVSHMEM_REGION>hv:/shm_region_0, 2, 0:2</IVSHMEM_REGION>"
        ))
    };
    assert_eq!(old("y").unwrap().regions[0].full_name(), "hv:/shm_region_0");
    assert_eq!(old("n").unwrap().regions, []);
    // The tutorial shows the element alone.
    let alone = "<IVSHMEM><IVSHMEM_ENABLED>y</IVSHMEM_ENABLED><IVSHMEM_REGION>hv:/shm_region_0, 2, 0:2</IVSHMEM_REGION></IVSHMEM>";
    assert_eq!(xml::parse(alone).unwrap().vms.len(), 2);
    let unknown =
        "<IVSHMEM_ENABLED>y</IVSHMEM_ENABLED><IVSHMEM_REGION>hv:/a,2,0:7</IVSHMEM_REGION>";
    assert!(message(unknown).ends_with("Shared Memory can be only configured for existed VMs."));
}

#[test]
fn files_that_are_no_scenario() {
    assert!(xml::parse("<IVSHMEM>")
        .unwrap_err()
        .to_string()
        .starts_with("scenario: "));
    let no_id = "<acrn-config><vm><name>a</name></vm></acrn-config>";
    assert_eq!(
        xml::parse(no_id).unwrap_err().to_string(),
        "scenario: a vm element needs the attribute id, a number"
    );
    let unknown = toml_form::parse("[[region]]\nsize_mb = 2\n")
        .unwrap_err()
        .to_string();
    assert!(unknown.contains("unknown field `size_mb`"), "{unknown}");
}

#[test]
fn toml_says_the_same_as_xml() {
    let toml = r#"
        vm = [{ id = 0, name = "SAFETY_VM0", load_order = "PRE_LAUNCHED_VM" },
              { id = 1, name = "SERVICE_VM", load_order = "SERVICE_VM" },
              { id = 2, name = "POST_STD_VM1" }]
        [[region]]
        name = "a"
        provided_by = "Device Model"
        size = 4
        id = "0x1000"
        vms = [{ name = "SAFETY_VM0" }, { name = "POST_STD_VM1", vbdf = "00:05.0" }]
    "#;
    let members = [member("SAFETY_VM0", ""), member("POST_STD_VM1", "00:05.0")];
    let fields = "<NAME>a</NAME><PROVIDED_BY>Device Model</PROVIDED_BY><IVSHMEM_SIZE>4</IVSHMEM_SIZE><IVSHMEM_REGION_ID>4096</IVSHMEM_REGION_ID>";
    assert_eq!(
        toml_form::parse(toml).unwrap(),
        scenario(&region(fields, &members)).unwrap()
    );
    let short = toml.replace("{ name = \"SAFETY_VM0\" }, ", "");
    let error = toml_form::parse(&short).unwrap_err().to_string();
    assert!(error.contains("needs at least two VMs"), "{error}");
}
