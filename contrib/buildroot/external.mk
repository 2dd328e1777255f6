include $(sort $(wildcard $(BR2_EXTERNAL_IVSHMEM_RS_PATH)/package/*/*.mk))
