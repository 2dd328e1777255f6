################################################################################
#
# ivshmem-rs
#
################################################################################

# What is committed in the repository that this directory is a part of.
IVSHMEM_RS_VERSION = $(shell git -C $(BR2_EXTERNAL_IVSHMEM_RS_PATH) rev-parse HEAD)
IVSHMEM_RS_SITE = file://$(abspath $(BR2_EXTERNAL_IVSHMEM_RS_PATH)/../..)
IVSHMEM_RS_SITE_METHOD = git
IVSHMEM_RS_LICENSE = GPL-2.0 or MIT
IVSHMEM_RS_LICENSE_FILES = LICENSES/GPL-2.0-only.txt LICENSES/MIT.txt
IVSHMEM_RS_SUBDIR = tools

IVSHMEM_RS_PROGRAMS-$(BR2_PACKAGE_IVSHMEM_RS_IVSHMEMCTL) += ivshmemctl
IVSHMEM_RS_PROGRAMS-$(BR2_PACKAGE_IVSHMEM_RS_SERVER) += ivshmem-server
IVSHMEM_RS_CARGO_BUILD_OPTS = $(addprefix --package ,$(IVSHMEM_RS_PROGRAMS-y))

# The infrastructure's command installs one package, and not those of a
# workspace.
define IVSHMEM_RS_INSTALL_TARGET_CMDS
	$(INSTALL) -d $(TARGET_DIR)/usr/bin
	$(INSTALL) -m 0755 -t $(TARGET_DIR)/usr/bin \
		$(addprefix $(@D)/tools/target/$(RUSTC_TARGET_NAME)/$(if $(BR2_ENABLE_DEBUG),debug,release)/,$(IVSHMEM_RS_PROGRAMS-y))
endef

ifeq ($(BR2_PACKAGE_IVSHMEM_RS_SERVER),y)
define IVSHMEM_RS_INSTALL_INIT_SYSTEMD
	$(MAKE) -C $(@D) install-server-files DESTDIR=$(TARGET_DIR) PREFIX=/usr
endef
endif

$(eval $(cargo-package))
