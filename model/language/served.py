class ServedWriter: pass
